// SPDX-License-Identifier: Apache-2.0
// Server-sent events out of a fetched body. EventSource can't: it sends no header and no body, and
// doesn't say what status it was refused with.

// Feed it text; it calls event({id, type, data}) for each that is whole, and comment() for others' sign of life.
export function parser(event, comment = () => {}) {
  let rest = '';
  let fields = {};

  function line(text) {
    if (text === '') {
      if (fields.data !== undefined)
        event({ id: fields.id, type: fields.event ?? 'message', data: fields.data });
      fields = {};
      return;
    }
    if (text[0] === ':') return comment();
    const colon = text.indexOf(':');
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(colon + (text[colon + 1] === ' ' ? 2 : 1));
    fields[name] = name === 'data' && fields.data !== undefined ? `${fields.data}\n${value}` : value;
  }

  return (text) => {
    rest += text;
    const lines = rest.split('\n');
    rest = lines.pop();
    for (const one of lines) line(one.endsWith('\r') ? one.slice(0, -1) : one);
  };
}

// Reads to the end; throws what the body throws.
export async function readEvents(body, event, comment) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const feed = parser(event, comment);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    feed(value);
  }
}
