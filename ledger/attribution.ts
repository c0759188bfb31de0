/** Owners: from the config and its CSV file into the store. Teams follow at query time, so nothing is rebuilt when an owner changes. */
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse as parseCsv } from 'csv-parse/sync'
import { messageOf, UsageError } from '../runtime/errors.ts'
import { type AttributionConfig, type AttributionEntry, attributionEntry } from '../schemas/attribution.ts'
import type { Store } from '../store/store.ts'
import { dayText, inclusiveDays } from './days.ts'

/** All entries of the config, those of the CSV file first. `config_file` anchors a relative path. Throws UsageError with every bad line. */
export function readAttribution(config: AttributionConfig, config_file?: string): AttributionEntry[] {
  if (Array.isArray(config)) return config
  const path = config.csv === undefined ? undefined : resolve(config_file === undefined ? '.' : dirname(config_file), config.csv)
  return [...(path === undefined ? [] : readAttributionCsv(path)), ...config.entries]
}

/** Columns owner, team, service, cost_centre, contacts (split by ";"), from, until; an empty cell is "not given". */
export function readAttributionCsv(path: string): AttributionEntry[] {
  let rows: Record<string, string>[]
  try {
    rows = parseCsv(readFileSync(path, 'utf8'), { columns: true, bom: true, trim: true, skip_empty_lines: true })
  } catch (error) {
    throw new UsageError(`the attribution file ${path} cannot be read: ${messageOf(error)}`)
  }
  const problems: string[] = []
  const entries = rows.flatMap((row, index) => {
    const given = Object.fromEntries(Object.entries(row).filter(([, cell]) => cell !== ''))
    const parsed = attributionEntry.safeParse({ ...given, ...(given['contacts'] === undefined ? {} : { contacts: given['contacts'].split(';').map((contact) => contact.trim()) }) })
    if (parsed.success) return [parsed.data]
    problems.push(...parsed.error.issues.map((issue) => `${path}, line ${index + 2}: ${issue.path.map(String).join('.') || 'row'}: ${issue.message}`))
    return []
  })
  if (problems.length > 0) throw new UsageError(problems)
  return entries
}

/**
 * Makes the store's owners equal to the entries; says how many rows it wrote (0 when nothing changed). Where two entries of an owner
 * cover the same day the later in the list wins. Takes effect at once for every day, past ones included.
 */
export async function loadAttribution(store: Store, entries: readonly AttributionEntry[]): Promise<number> {
  const wanted = new Map(withoutOverlap(entries).map((row) => [keyOf(row), row]))
  const stored = await store.query<AttributionRow & { version: string }>(
    `SELECT owner_ref, toString(from_day) AS from_day, toString(last_day) AS last_day, team, service, cost_centre, contacts, version FROM ${store.database}.attribution FINAL`,
  )
  const known = new Map(stored.map((row) => [keyOf(row), row]))
  const [newest] = await store.query<{ version: string }>(`SELECT max(version) AS version FROM ${store.database}.attribution`)
  const version = (BigInt(newest?.version ?? '0') + 1n).toString()
  const lines: string[] = []
  const write = (row: AttributionRow, deleted: 0 | 1) =>
    lines.push(JSON.stringify([row.owner_ref, row.from_day, row.last_day, row.team, row.service, row.cost_centre, row.contacts, version, deleted]))
  for (const [key, row] of wanted) if (textOf(row) !== textOf(known.get(key))) write(row, 0)
  for (const [key, row] of known) if (!wanted.has(key)) write(row, 1)
  if (lines.length > 0) await store.insert('attribution', ['owner_ref', 'from_day', 'last_day', 'team', 'service', 'cost_centre', 'contacts', 'version', 'deleted'], lines)
  // Also when nothing changed: an earlier load may have died before its reload.
  await store.command(`SYSTEM RELOAD DICTIONARY ${store.database}.attribution_dictionary`)
  return lines.length
}

interface AttributionRow {
  owner_ref: string
  from_day: string
  last_day: string
  team: string
  service: string
  cost_centre: string
  contacts: string[]
}

const keyOf = (row: AttributionRow): string => `${row.from_day} ${row.owner_ref}`
const textOf = (row: AttributionRow | undefined): string => (row === undefined ? '' : JSON.stringify([row.last_day, row.team, row.service, row.cost_centre, row.contacts]))

/** Periods of one owner without overlap: days are cut out of earlier entries where a later one speaks. */
function withoutOverlap(entries: readonly AttributionEntry[]): AttributionRow[] {
  const owners = new Map<string, { from: number; last: number; entry: AttributionEntry }[]>()
  for (const entry of entries) {
    const days = inclusiveDays(entry.from, entry.until)
    const rest = (owners.get(entry.owner) ?? []).flatMap((old) => [
      ...(old.from < days.from ? [{ ...old, last: Math.min(old.last, days.from - 1) }] : []),
      ...(old.last > days.last ? [{ ...old, from: Math.max(old.from, days.last + 1) }] : []),
    ])
    owners.set(entry.owner, [...rest, { ...days, entry }])
  }
  return [...owners.values()].flat().map(({ from, last, entry }) => ({
    owner_ref: entry.owner,
    from_day: dayText(from),
    last_day: dayText(last),
    team: entry.team,
    service: entry.service ?? '',
    cost_centre: entry.cost_centre ?? '',
    contacts: entry.contacts,
  }))
}
