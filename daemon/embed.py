# SPDX-License-Identifier: Apache-2.0
# Makes a C file of a JSON document, without its blanks: embed.py INPUT OUTPUT NAME
# NAME_text is the document, NAME_len how long it is.
import json
import sys

source, target, name = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    text = json.dumps(json.load(file), separators=(",", ":")).encode()
rows = [text[at : at + 16] for at in range(0, len(text), 16)]
with open(target, "w", encoding="ascii") as file:
    file.write('#include "daemon/api.h"\n\n')
    file.write(f"const size_t {name}_len = {len(text)};\n")
    file.write(f"const char {name}_text[] = {{\n")
    for row in rows:
        file.write("\t" + ", ".join(str(byte) for byte in row) + ",\n")
    file.write("\t0,\n};\n")
