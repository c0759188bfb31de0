/** The columns of usage_events that a topic record can fill as it is: what the engine copies, from our own migration. */
import { readFileSync } from 'node:fs'
import { usageEvent } from '../schemas/usage.ts'

export function engineColumns(): { name: string; type: string }[] {
  const ddl = readFileSync(new URL('../store/migrations/store-0001-usage-events.sql', import.meta.url), 'utf8')
  const fields = Object.keys(usageEvent.shape)
  return [...ddl.matchAll(/^ {4}(\w+) ((?:Nullable|LowCardinality|Array|DateTime64|UUID|UInt\d+|String|Bool|Decimal)[^\n]*?)(?: DEFAULT [^\n]*)?(?: COMMENT [^\n]*)?,?$/gm)]
    .map((match) => ({ name: match[1] ?? '', type: (match[2] ?? '').replace(/,$/, '') }))
    .filter(({ name }) => fields.includes(name))
}
