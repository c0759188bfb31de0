/** CSV rows after RFC 4180: quoted cells, doubled quotes, line feeds in quotes. Rows come whole from the splitter. */

/** The cells of one row without its line end. A quote that never closes ends with the row. */
export function parseCsvLine(row: string, delimiter: string): string[] {
  if (!row.includes('"')) return row.split(delimiter)
  const cells: string[] = []
  let cell = ''
  let quoted = false
  for (let at = 0; at < row.length; at++) {
    const char = row[at] ?? ''
    if (quoted) {
      if (char !== '"') cell += char
      else if (row[at + 1] === '"') {
        cell += '"'
        at++
      } else quoted = false
    } else if (char === '"' && cell === '') quoted = true
    else if (char === delimiter) {
      cells.push(cell)
      cell = ''
    } else cell += char
  }
  cells.push(cell)
  return cells
}

const DELIMITERS = [',', ';', '\t'] as const

/** The delimiter that gives the first row the most cells. */
export function delimiterOf(row: string): string {
  let best: string = ','
  for (const delimiter of DELIMITERS) if (row.split(delimiter).length > row.split(best).length) best = delimiter
  return best
}

/** A header names columns: each begins like a word, so none is empty, a number or an instant, and none comes twice. */
export function looksLikeHeader(cells: readonly string[]): boolean {
  return new Set(cells).size === cells.length && cells.every((cell) => cell.length <= 200 && /^\s*[\p{L}_#@$]/u.test(cell))
}

/** Body of a record: a JSON object with a header, a JSON array of cells without (a file that was cut behind its header). */
export function rowBody(cells: readonly string[], header: readonly string[] | null): string {
  if (header === null) return JSON.stringify(cells)
  let body = '{'
  for (let column = 0; column < header.length; column++) {
    body += `${column === 0 ? '' : ','}${JSON.stringify(header[column])}:${cells[column] === undefined ? 'null' : JSON.stringify(cells[column])}`
  }
  // Cells without a column are kept under a name that no mapping expects, so that a shifted row is seen and not silently cut.
  if (cells.length > header.length) body += `,"_extra":${JSON.stringify(cells.slice(header.length))}`
  return `${body}}`
}
