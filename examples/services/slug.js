// Makes the part of an address out of a title: a service of a mutirao node in JavaScript (Node.js).
//
//   run {"text": "Olá, Mutirão!"}  ->  {"slug": "ola-mutirao"}
//
// The node writes a request a line to our standard input and reads an answer a line from our standard output. What we
// print to standard error goes to its log.

'use strict';

const readline = require('node:readline');

function slug(text) {
  return text
    .normalize('NFKD') // letters and their accents apart
    .replace(/\p{M}/gu, '') // accents away
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-|-$/g, '');
}

function answer({ ID, PARAMS }) {
  const text = PARAMS && PARAMS.text;
  if (typeof text !== 'string') {
    return { ID, ERROR: 'PARAMS `text` is missing or no text; expected a text', RETRY: false };
  }
  return { ID, RESULT: { slug: slug(text) } };
}

// The process ends by itself when its input does.
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + '\n');
});
