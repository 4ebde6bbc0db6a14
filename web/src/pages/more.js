// SPDX-License-Identifier: Apache-2.0
// All pages but the first one: they come together, and with what draws their plots.
export { AdminPage } from './admin.js';
export { PoolPage } from './pool.js';
export { SessionPage } from './session.js';
