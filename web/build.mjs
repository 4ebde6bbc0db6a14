// SPDX-License-Identifier: Apache-2.0
// Bundles the dashboard: node build.mjs --out DIR
//
// DIR gets index.html, favicon.svg, and assets/ with names that change with their bytes. The same
// sources give the same bytes.
import { build } from 'esbuild';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('.', import.meta.url));
const at = process.argv.indexOf('--out');
if (at < 0 || !process.argv[at + 1]) {
  console.error('usage: node build.mjs --out DIR');
  process.exit(2);
}
const out = resolve(process.argv[at + 1]);

const common = {
  absWorkingDir: root,
  outdir: join(out, 'assets'),
  entryNames: '[name]-[hash]',
  bundle: true,
  format: 'esm',
  minify: true,
  target: ['chrome111', 'firefox115', 'safari16.4'],
  legalComments: 'none',
  charset: 'utf8',
  metafile: true,
  logLevel: 'warning',
};
const app = await build({
  ...common,
  entryPoints: { app: 'src/main.js' },
  chunkNames: '[name]-[hash]',
  splitting: true,
});
const worker = await build({ ...common, entryPoints: { worker: 'src/worker.js' } });
const outputs = { ...app.metafile.outputs, ...worker.metafile.outputs };

// "app.css" -> "/assets/app-HASH.css"
function address(name) {
  const [stem, ext] = name.split('.');
  const file = Object.keys(outputs)
    .map((path) => basename(path))
    .find((path) => path.startsWith(`${stem}-`) && path.endsWith(`.${ext}`));
  if (!file) throw new Error(`nothing was made for ${name}`);
  return `/assets/${file}`;
}

// What the script needs at once, so that it is asked for at once.
const { imports } = Object.entries(outputs).find(([path]) => `/assets/${basename(path)}` === address('app.js'))[1];
const preloads = imports
  .filter(({ kind }) => kind === 'import-statement')
  .map(({ path }) => `<link rel="modulepreload" href="/assets/${basename(path)}">`);

const page = await readFile(join(root, 'src/index.html'), 'utf8');
const places = { '%SCRIPT%': 'app.js', '%STYLE%': 'app.css', '%WORKER%': 'worker.js' };
await mkdir(out, { recursive: true });
await writeFile(
  join(out, 'index.html'),
  page
    .replace('%PRELOADS%\n', preloads.map((line) => `${line}\n`).join(''))
    .replace(/%[A-Z]+%/g, (place) => address(places[place])),
);
await cp(join(root, 'src/favicon.svg'), join(out, 'favicon.svg'));
