/* SPDX-License-Identifier: Apache-2.0 */
/* The supply of real guests. */
#include "pool/supply_priv.h"

struct tp_supply *tp_supply_new(const struct tp_supply_options *options)
{
	static const struct tp_stock_ops stock = {
		.add_warm = tp_stock_add_warm,
		.add_shell = tp_stock_add_shell,
		.count = tp_stock_count,
		.shrink = tp_stock_shrink,
		.ask = tp_stock_ask,
		.take_deaf = tp_stock_take_deaf,
	};

	return tp_supply_new_with(options, &stock);
}
