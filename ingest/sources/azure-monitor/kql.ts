/** The statements of the source. One step a line, so that people can paste them into the portal. */
import type { Window } from './planner.ts'

/** One table and how it is read. `steps` are KQL operators that keep rows rows. */
export interface TableQuery {
  table: string
  steps: readonly string[]
}

/** The names that the source gives its own columns; own KQL must not use them. */
const INGESTED = 'tw_ingested'

/** Asked for the time of the service: the clock of this machine may be off by minutes, and the window ends in "now". */
export const CLOCK_QUERY = 'print tw_now = tostring(now())'

/**
 * Rows per bin of ingestion time; `bin`: ms. With `measure` the bytes, too, as they will be sent: that makes the service pack every
 * row, so it is asked only of windows that are about to be read.
 */
export const surveyQuery = (query: TableQuery, window: Window, { bin, measure }: { bin: number; measure: boolean }, item_ids: boolean): string =>
  [
    ...head(query, window, item_ids),
    `summarize tw_rows = count(), tw_bytes = sum(${measure ? 'string_size(tostring(pack_all(true)))' : '0'}) by tw_bin = bin(${INGESTED}, ${bin}ms)`,
    'project tw_bin = tostring(tw_bin), tw_rows, tw_bytes',
  ].join('\n| ')

/**
 * The rows themselves. A row is packed on the server and comes as text: both clients turn datetime columns into Date (100 ns
 * become 1 ms) and numbers above 2^53 into others, and neither touches a string. Empty columns are left out: AzureDiagnostics has 500.
 */
export const rowsQuery = (query: TableQuery, window: Window, item_ids: boolean): string =>
  [
    ...head(query, window, item_ids),
    `project ${INGESTED} = tostring(${INGESTED}), tw_time = tostring(tw_time), tw_id, tw_row = tostring(bag_remove_keys(pack_all(true), dynamic(["${INGESTED}","tw_time","tw_id"])))`,
    `order by ${INGESTED} asc, tw_id asc`,
  ].join('\n| ')

function head({ table, steps }: TableQuery, { from, to, part }: Window, item_ids: boolean): string[] {
  return [
    table,
    `where ingestion_time() >= datetime(${instant(from)}) and ingestion_time() < datetime(${instant(to)})`,
    // _ItemId is hidden unless it is named, and a table without it refuses the name.
    `extend ${INGESTED} = ingestion_time(), tw_time = TimeGenerated, tw_id = ${item_ids ? '_ItemId' : '""'}`,
    ...steps,
    // Not by the packed row: its columns may stand in another order in the next query, and a row would be in neither part.
    ...(part === undefined ? [] : [`where hash(${item_ids ? 'tw_id' : `strcat(tostring(${INGESTED}), tostring(tw_time))`}, ${part.of}) == ${part.index}`]),
  ]
}

const instant = (ms: number): string => new Date(ms).toISOString()
