/** When a detector with open buckets wants to be woken. */

/**
 * Event time of the next tick: as soon as everything is closed that an open bucket is judged by (`lag` buckets before it), and
 * again at its own end. Events may arrive long before event time does (a fresh start, a backlog after an outage): without the
 * first wake such a bucket would be judged only at its end. undefined: nothing is open.
 */
export function nextWake(starts: Iterable<number>, now: number, bucket_ms: number, lag: number): number | undefined {
  let first = Infinity
  for (const start of starts) {
    const ready = start - (lag - 1) * bucket_ms
    first = Math.min(first, now < ready ? ready : start + bucket_ms)
  }
  return first === Infinity ? undefined : first
}
