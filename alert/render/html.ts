/** HTML by an escaping template: values go in as text, there is no other way. No remote content, no link made from data. */
import type { AlertDocument } from './document.ts'

/** Text that is HTML already, made by `html` only. */
class Markup {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type Value = string | Markup | readonly Markup[]

/** Tagged template: every value that is not Markup is escaped for element content and for quoted attributes. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Markup {
  return new Markup(strings.map((part, index) => part + (index < values.length ? render(values[index] ?? '') : '')).join(''))
}

export function htmlOf(document: AlertDocument): string {
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>${document.subject}</title>
      </head>
      <body style="font-family: sans-serif; color: #1a1a1a">
        <h2>${document.headline}</h2>
        <p>${document.summary}</p>
        ${rows('', document.facts)} ${rows('Evidence', document.evidence)} ${rows('Proposal', document.proposal)} ${commands(document.next)}
      </body>
    </html>`
  return page.text
}

const rows = (title: string, list: readonly (readonly [string, string])[]): Markup =>
  list.length === 0
    ? html``
    : html`${heading(title)}
        <table cellpadding="4">
          ${list.map(
            ([name, value]) =>
              html`<tr>
                <th align="left" valign="top">${name}</th>
                <td>${value}</td>
              </tr>`,
          )}
        </table>`

const commands = (list: AlertDocument['next']): Markup =>
  html`${heading('What to do next')}
    <ul>
      ${list.map(([what, how]) => html`<li>${what}: <code>${how}</code></li>`)}
    </ul>`

const heading = (title: string): Markup => (title === '' ? html`` : html`<h3>${title}</h3>`)

function render(value: Value): string {
  if (value instanceof Markup) return value.text
  if (typeof value === 'string') return escape(value)
  return value.map((item) => item.text).join('')
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;', '`': '&#96;', '=': '&#61;' }
const escape = (text: string): string => text.replace(/[&<>"'`=]/g, (character) => ENTITIES[character] ?? '')
