/** What a file is made of, told by its first bytes, and envelopes that hold several records. */
import { delimiterOf, looksLikeHeader, parseCsvLine, rowBody } from '../../csv.ts'
import { expandEnvelope, type Unpacked } from '../../shapes/envelopes.ts'

export type Container = { kind: 'lines' } | { kind: 'json'; records: boolean } | { kind: 'csv'; delimiter: string; header: readonly string[] | null }

export const containerKinds = ['auto', 'lines', 'json', 'csv'] as const
export type ContainerChoice = (typeof containerKinds)[number]

/** `head`: the first bytes without a byte order mark (64 kB are enough); `name`: of the file, its ending only helps for CSV. */
export function detectContainer(head: string, name: string, choice: ContainerChoice = 'auto'): Container {
  const records = /^\s*\{\s*"(?:Records|records)"\s*:\s*\[/.test(head)
  if (choice === 'lines') return { kind: 'lines' }
  if (choice === 'json') return { kind: 'json', records }
  const [first = '', second = ''] = head.split(/\r?\n/, 2)
  if (choice === 'csv' || /\.(?:csv|tsv)(?:\.gz)?$/i.test(name)) return csv(first)
  const trimmed = head.trimStart()
  // Whole envelopes one a line are opened one by one; only of those is known what stands behind the list.
  if (records) return second !== '' && isWhole(first) ? { kind: 'lines' } : { kind: 'json', records: true }
  if (/^\[\s*[[{\]"]/.test(trimmed)) return { kind: 'json', records: false }
  if (trimmed.startsWith('{')) return /[{[,]\s*$/.test(first) ? { kind: 'json', records: false } : { kind: 'lines' }
  const delimiter = delimiterOf(first)
  const cells = parseCsvLine(first, delimiter)
  if (
    cells.length > 1 &&
    cells.every((cell) => /^[\w .\-/#]{1,64}$/.test(cell)) &&
    looksLikeHeader(cells) &&
    (second === '' || parseCsvLine(second, delimiter).length === cells.length)
  )
    return csv(first)
  return { kind: 'lines' }
}

function isWhole(line: string): boolean {
  try {
    return typeof JSON.parse(line) === 'object'
  } catch {
    return false
  }
}

function csv(first: string): Container {
  const delimiter = delimiterOf(first)
  const cells = parseCsvLine(first, delimiter).map((cell) => cell.trim())
  return { kind: 'csv', delimiter, header: looksLikeHeader(cells) ? cells : null }
}

/** Records of one piece; none for the header of a CSV file. */
export function unpack(text: string, container: Container): Unpacked[] {
  if (container.kind !== 'csv') return expandEnvelope(text)
  const cells = parseCsvLine(text, container.delimiter)
  const { header } = container
  // The header stands again where files were put one behind the other.
  if (header !== null && cells.length === header.length && cells.every((cell, column) => cell.trim() === header[column])) return []
  return [{ id: null, at: 0, body: rowBody(cells, header), stream: null }]
}
