/** Untrusted text made safe to show: no control characters, no bidirectional tricks, no terminal escapes. */

// C0 and C1 controls (ESC among them, which ends ANSI sequences), line and paragraph separators, bidi controls, BOM and zero-width.
// eslint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g

/** Replaces unsafe characters by a space and cuts to `max` UTF-16 units without splitting a surrogate pair. */
export function plainText(text: string, max = 500): string {
  const safe = text.replace(UNSAFE, ' ')
  if (safe.length <= max) return safe
  const cut = safe.slice(0, max - 1)
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`
}
