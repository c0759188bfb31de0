/**
 * Counts identical normalised records of one stream, for formats whose records have no id of their own. Bounded: twins stand
 * close to each other (they have the same time), so the oldest half is forgotten when there are too many.
 * A page that is read again after a crash is counted from zero: the first of its records may then repeat an id that a twin of an
 * earlier page has. It takes two records that agree in everything, time included, on both sides of a checkpoint.
 */
const KEPT = 20_000

export function createOccurrences(): (key: string) => number {
  let recent = new Map<string, number>()
  let older = new Map<string, number>()
  return (key) => {
    const seen = recent.get(key) ?? older.get(key) ?? 0
    recent.set(key, seen + 1)
    if (recent.size > KEPT) {
      older = recent
      recent = new Map()
    }
    return seen
  }
}
