/** The document as plain text: mail's first part, and what `alerts show` prints. */
import type { AlertDocument } from './document.ts'

export function textOf(document: AlertDocument): string {
  const sections = [
    document.headline,
    document.summary,
    table(document.facts),
    titled('Evidence', table(document.evidence)),
    titled('Proposal', table(document.proposal)),
    titled('What to do next', table(document.next)),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

const titled = (title: string, body: string): string => (body === '' ? '' : `${title}\n${body}`)

function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(32, Math.max(0, ...rows.map(([name]) => name.length)))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}
