// Names, labels and messages of unknown origin → text that shows what it is, as onnxcam/text.py does it.

const HIDDEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu; // not seen, or turns text around
const NAMED = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function written(character) {
  const code = character.codePointAt(0);
  const hex = (length) => code.toString(16).padStart(length, "0");
  if (code < 0x100) return NAMED[character] ?? `\\x${hex(2)}`;
  return code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}

/** Return the text with what a reader would not see written out, cut in the middle to `longest` characters. */
export function visible(text, longest = 120) {
  const given = typeof text === "string" ? text : JSON.stringify(text) ?? "";
  const shown = Array.from(given.replace(HIDDEN, written));
  if (shown.length <= longest) return shown.join("");
  const head = Math.floor(((longest - 1) * 2) / 3);
  return `${shown.slice(0, head).join("")}…${shown.slice(head + 1 - longest).join("")}`;
}
