/**
 * Tells identical normalised records of one stream apart, for formats whose records have no id of their own. A record that is
 * read again (a rescan, a page after a failure) is told by the id that its source gives it and keeps its number, so it keeps its
 * event id. Bounded: twins stand close to each other (they have the same time), so the oldest half is forgotten when there are
 * too many. After a restart twins are numbered anew in the order of reading, which matters only where one of two records that
 * agree in everything, time included, is read again and the other is not.
 */
const KEPT = 20_000

/** key → how many other records of this key came before; `id` is the record's, unique in its stream. */
export type Occurrences = (key: string, id: string) => number

export function createOccurrences(): Occurrences {
  // Nearly every key has one record only: its id alone, without a list around it.
  let recent = new Map<string, string | string[]>()
  let older = new Map<string, string | string[]>()
  return (key, id) => {
    const seen = recent.get(key) ?? older.get(key) ?? id
    const ids = typeof seen === 'string' ? [seen] : seen
    let index = seen === id ? 0 : ids.indexOf(id)
    if (index === -1) index = ids.push(id) - 1
    recent.set(key, ids.length === 1 ? seen : ids)
    if (recent.size > KEPT) {
      older = recent
      recent = new Map()
    }
    return index
  }
}
