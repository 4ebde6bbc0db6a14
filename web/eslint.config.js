// Names that nobody declared, and what is declared and not used. How code looks is nobody's matter here.
import globals from 'globals';

const rules = {
  'no-undef': 'error',
  'no-unused-vars': 'error',
};

export default [
  { files: ['web/src/**/*.js'], languageOptions: { globals: globals.browser }, rules },
  { files: ['web/*.{js,mjs}'], languageOptions: { globals: globals.node }, rules },
  // Parts of the tests run in the page.
  { files: ['tests/dashboard/*.mjs'], languageOptions: { globals: { ...globals.browser, ...globals.node } }, rules },
];
