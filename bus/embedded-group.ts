/**
 * Consumer groups in the bus file, for several processes and without a coordinator: every member runs the same
 * deterministic division inside a write transaction. A claim carries a generation that grows each time it changes hands;
 * a commit with another member or generation is refused.
 */
import { writeTransaction } from './embedded-file.ts'
import type { LogFile } from './embedded-log.ts'

/** A process that died without a word loses its partitions after this time. */
export const LEASE_MS = 10_000
export const HEARTBEAT_MS = 2_500

export interface Claim {
  id: number
  generation: number
  /** The next offset to read; null: nothing committed yet. */
  committed: number | null
}
export interface Division {
  /** Claims that this member now holds and did not hold before. */
  gained: Claim[]
  /** Partition ids that are to be given up: finish, then `release`. */
  surplus: number[]
  /** Partition ids that were taken away while this member was away: stop, nothing of them may be committed. */
  lost: number[]
}
export interface GroupFile {
  /** Renews the lease; false: the member had been removed and is now back without claims. */
  renew(group: string, member: string, topics: readonly string[], now: number): boolean
  /** Divides the partitions among the living members. `held`: id → generation, as this member believes. */
  divide(group: string, member: string, held: ReadonlyMap<number, number>, now: number): Division
  /** False: refused, the claim is no longer this member's. */
  commit(group: string, member: string, claim: { id: number; generation: number }, next: number): boolean
  release(group: string, member: string, ids: readonly number[]): void
  leave(group: string, member: string): void
  /** Changes when a member came, went or gave up a partition. */
  epoch(group: string): number
  committed(group: string): Map<number, number | null>
  /** How many hold a lease at that time. */
  members(group: string, now: number): number
}

export function openGroups(file: LogFile): GroupFile {
  const { side } = file
  const s = {
    bump: side.prepare('insert into groups (name, epoch) values (?, 1) on conflict (name) do update set epoch = epoch + 1'),
    epoch: side.prepare('select epoch from groups where name = ?'),
    touch: side.prepare('update members set lease_until = ? where group_name = ? and member = ?'),
    join: side.prepare('insert into members (group_name, member, topics, lease_until) values (?, ?, ?, ?)'),
    // A lease that ends later than any that is given now was written before the clock was set back: without this it would hold for as long as that.
    bury: side.prepare('delete from members where group_name = ?1 and (lease_until < ?2 or lease_until > ?2 + ?4) and member <> ?3'),
    members: side.prepare('select member, topics from members where group_name = ? order by member'),
    living: side.prepare('select count(*) as living from members where group_name = ?1 and lease_until between ?2 and ?2 + ?3'),
    gone: side.prepare('delete from members where group_name = ? and member = ?'),
    claims: side.prepare('select partition_id, member, generation, committed from claims where group_name = ?'),
    claim: side.prepare(
      `insert into claims (group_name, partition_id, member, generation) values (?, ?, ?, 1)
       on conflict (group_name, partition_id) do update set member = excluded.member, generation = generation + 1 returning generation, committed`,
    ),
    commit: side.prepare('update claims set committed = ? where group_name = ? and partition_id = ? and member = ? and generation = ?'),
    free: side.prepare('update claims set member = null where group_name = ? and partition_id = ? and member = ?'),
    freeAll: side.prepare('update claims set member = null where group_name = ? and member = ?'),
  }
  const lived = (group: string, member: string, topics: readonly string[], now: number): boolean => {
    if (Number(s.touch.run(now + LEASE_MS, group, member).changes) > 0) return true
    s.join.run(group, member, JSON.stringify(topics), now + LEASE_MS)
    s.bump.run(group)
    return false
  }
  const divide = (group: string, member: string, held: ReadonlyMap<number, number>, now: number): Division => {
    if (Number(s.bury.run(group, now, member, LEASE_MS + HEARTBEAT_MS).changes) > 0) s.bump.run(group)
    const wishes = new Map(s.members.all(group).map((row) => [String(row['member']), new Set(JSON.parse(String(row['topics'])) as string[])]))
    const owners = new Map(s.claims.all(group).map((row) => [Number(row['partition_id']), { member: row['member'], generation: Number(row['generation']) }]))
    const wanted = fairShares(file, wishes)
    const result: Division = { gained: [], surplus: [], lost: [] }
    for (const [id, generation] of held) {
      const owner = owners.get(id)
      if (owner?.member !== member || owner.generation !== generation) result.lost.push(id)
      else if (wanted.get(id) !== member) result.surplus.push(id)
    }
    for (const [id, owner] of wanted) {
      const holder = owners.get(id)?.member
      if (owner !== member || (held.has(id) && !result.lost.includes(id))) continue
      if (typeof holder === 'string' && holder !== member && wishes.has(holder)) continue // its holder lives and will release it
      const row = s.claim.get(group, id, member)
      result.gained.push({ id, generation: Number(row?.['generation']), committed: row?.['committed'] === null ? null : Number(row?.['committed']) })
    }
    return result
  }
  return {
    renew: (group, member, topics, now) => writeTransaction(side, () => lived(group, member, topics, now)),
    divide: (group, member, held, now) => writeTransaction(side, () => divide(group, member, held, now)),
    commit: (group, member, { id, generation }, next) => writeTransaction(side, () => Number(s.commit.run(next, group, id, member, generation).changes) > 0),
    release: (group, member, ids) =>
      writeTransaction(side, () => {
        for (const id of ids) s.free.run(group, id, member)
        s.bump.run(group)
      }),
    leave: (group, member) =>
      writeTransaction(side, () => {
        s.freeAll.run(group, member)
        s.gone.run(group, member)
        s.bump.run(group)
      }),
    members: (group, now) => Number(s.living.get(group, now, LEASE_MS + HEARTBEAT_MS)?.['living'] ?? 0),
    epoch: (group) => Number(s.epoch.get(group)?.['epoch'] ?? 0),
    committed: (group) => new Map(s.claims.all(group).map((row) => [Number(row['partition_id']), row['committed'] === null ? null : Number(row['committed'])])),
  }
}

/** Partition id → member: each partition goes to the member with the fewest so far among those that want its topic. */
function fairShares(file: LogFile, wishes: ReadonlyMap<string, ReadonlySet<string>>): Map<number, string> {
  const load = new Map([...wishes.keys()].map((member) => [member, 0]))
  const shares = new Map<number, string>()
  for (const { id, topic } of file.partitions) {
    let chosen: string | undefined
    for (const [member, topics] of wishes) {
      if (topics.has(topic) && (chosen === undefined || (load.get(member) ?? 0) < (load.get(chosen) ?? 0))) chosen = member
    }
    if (chosen === undefined) continue
    shares.set(id, chosen)
    load.set(chosen, (load.get(chosen) ?? 0) + 1)
  }
  return shares
}
