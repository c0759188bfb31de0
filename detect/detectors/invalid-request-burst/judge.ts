/** Search or mistake? The features of one bucket and the verdict. */
import { BlockList, isIP } from 'node:net'
import type { Severity } from '../../../schemas/scalars.ts'
import { gammaPoissonTail } from '../../statistics/tails.ts'
import type { InvalidRequestBurstConfig } from './config.ts'
import { type Base, BUCKET_MS, type Bucket, type BurstState, LAG, type Lesson, nameOf, type PlaceUse, SUSPECT_MS } from './state.ts'

export const ATTACK = ['T1078.004', 'T1526', 'T1580', 'T1110.004', 'T1555.006', 'AML.T0012', 'AML.T0040'] as const

/** A day of buckets with traffic: before that "first seen" means nothing. */
export const MIN_BUCKETS = 24
/** What we believe of an unknown key: half an error in one bucket (one in five for an actor that reads secrets). */
const PRIOR_ERRORS = 0.5
/** So many errors from one place are somebody trying, not a slip. */
const TRIES = 3
/** A search that is three times as wide as it must be needs no history and no second code. */
const WIDE = 3

export type Reason =
  | 'recon-then-success'
  | 'target-enumeration'
  | 'errors-from-new-network'
  | 'key-enumeration'
  | 'denied-secret-search'
  | 'quota-exhausted'
  | 'rate-limited'
  | 'provider-errors'
  | 'misconfiguration'

export interface Verdict {
  reason: Reason
  severity: Severity
  hostile: boolean
  tail: number
  errors: number
  base: Base
  /** Places that this entity had not used before. */
  fresh: [string, PlaceUse][]
  success_after: PlaceUse | undefined
  /** Errors of the search that came from there in an earlier bucket. */
  searched_before: number | undefined
}

export const errorsOf = ({ errors: { invalid, limit, quota, server } }: Bucket): number => invalid + limit + quota + server

/**
 * `hour_errors`: errors of the hour that ends with this bucket, known at its close only.
 *
 * Whatever makes an open bucket hostile only grows while the bucket grows (its past is fixed), so what was told early stands at
 * the close, and the order of arrival does not decide whether a bucket is told.
 */
export function judge(state: BurstState, key: string, bucket: Bucket, now: number, config: InvalidRequestBurstConfig, hour_errors: number | null): Verdict | undefined {
  const errors = errorsOf(bucket)
  const actor = key.startsWith('actor:')
  const enough = errors >= minErrors(actor, config) || (hour_errors ?? 0) >= 3 * config.min_errors
  if (!enough && !mayFollowSearch(state, bucket)) return undefined
  const base = state.baseFor(bucket.start, now)
  if (base === undefined) return undefined
  const tail = tailOf(bucket, errors, hour_errors, base, actor)
  const settled = state.since !== null && base.buckets >= MIN_BUCKETS
  const fresh = settled ? freshPlaces(state, bucket) : []
  const success_after = fresh.map(([, use]) => use).find((use) => use.errors >= TRIES && use.last_success > use.first_error)
  const shared = { tail, errors, base, fresh, success_after, searched_before: undefined }
  if (!enough || tail >= config.surprise) return key.startsWith('address:') ? undefined : afterSearch(state, bucket, actor, shared)
  if (key.startsWith('address:')) return triesKeys(bucket, config) ? { ...shared, reason: 'key-enumeration', severity: 'high', hostile: true } : undefined
  const strange = isStrange(bucket, errors, fresh, base, actor, config, hour_errors !== null)
  const search = isSearch(state, bucket, errors, settled, config, hour_errors !== null)
  if (actor && (search || strange)) return { ...shared, reason: 'denied-secret-search', severity: severityOfDenied(strange, success_after !== undefined), hostile: true }
  if ((search || strange) && success_after) return { ...shared, reason: 'recon-then-success', severity: 'critical', hostile: true }
  if (search) return { ...shared, reason: 'target-enumeration', severity: strange ? 'high' : 'medium', hostile: true }
  if (strange) return { ...shared, reason: 'errors-from-new-network', severity: 'medium', hostile: true }
  const after = afterSearch(state, bucket, actor, shared)
  if (after) return after
  if (!config.operational || 2 * errors < bucket.requests) return undefined
  return { ...shared, reason: plainReason(bucket), severity: 'low', hostile: false }
}

/** What is to be learnt of a closed bucket. */
export function lessonOf(state: BurstState, key: string, bucket: Bucket, now: number, config: InvalidRequestBurstConfig, verdict: Verdict | undefined): Lesson {
  const suspects = verdict?.hostile && !key.startsWith('address:') ? searchers(verdict.fresh, verdict) : []
  const base = state.baseFor(bucket.start, now) ?? state.base
  // A bad deploy that fails for a day would make any number of errors look usual for a week: what surprises is learnt in small
  // steps, at most twice the mean, so that it becomes the new rate in days and not in minutes.
  const surprising = tailOf(bucket, errorsOf(bucket), null, base, key.startsWith('actor:')) < config.surprise
  const at_most = surprising ? Math.max(config.min_errors, (2 * base.errors) / Math.max(1, base.buckets)) : Infinity
  return { hostile: verdict?.hostile ?? false, suspects, at_most }
}

const minErrors = (actor: boolean, config: InvalidRequestBurstConfig): number => (actor ? config.min_denied : config.min_errors)

/** Cheap: is there any search at all that a success could follow? An open bucket that has told something is hostile. */
function mayFollowSearch(state: BurstState, bucket: Bucket): boolean {
  if (state.suspects.size > 0) return true
  return openBefore(state, bucket.start).some(({ emitted }) => emitted > 0)
}

/** A success from where somebody searched shortly before, in a bucket that is quiet itself. */
function afterSearch(state: BurstState, bucket: Bucket, actor: boolean, shared: Omit<Verdict, 'reason' | 'severity' | 'hostile'>): Verdict | undefined {
  for (const [address, use] of shared.fresh) {
    if (use.successes === 0) continue
    const searched_before = searchedBefore(state, nameOf(address, use), bucket.start)
    if (searched_before !== undefined)
      return { ...shared, reason: actor ? 'denied-secret-search' : 'recon-then-success', severity: 'critical', hostile: true, success_after: use, searched_before }
  }
  return undefined
}

function searchedBefore(state: BurstState, place: string, start: number): number | undefined {
  const closed = state.searchedFrom(place, start)
  if (closed !== undefined) return closed
  for (const other of openBefore(state, start)) {
    if (other.emitted === 0) continue
    const errors = other.places.filter(([address, use]) => nameOf(address, use) === place).reduce((sum, [, use]) => sum + use.errors, 0)
    if (errors >= TRIES) return errors
  }
  return undefined
}

/** Buckets of the hour before that are not closed yet. */
function openBefore(state: BurstState, start: number): Bucket[] {
  const open: Bucket[] = []
  for (let at = start - BUCKET_MS; at >= start - SUSPECT_MS; at -= BUCKET_MS) {
    const bucket = state.open.get(at)
    if (bucket) open.push(bucket)
  }
  return open
}

/** New places of a hostile bucket with their errors: those that tried, and those that only came for what was found. */
function searchers(fresh: readonly [string, PlaceUse][], { searched_before, success_after }: Verdict): [string, number][] {
  const errors = new Map<string, number>()
  for (const [address, use] of fresh) errors.set(nameOf(address, use), (errors.get(nameOf(address, use)) ?? 0) + use.errors + (use === success_after ? (searched_before ?? 0) : 0))
  return [...errors].filter(([, count]) => count >= TRIES)
}

/**
 * An address that many keys share (a NAT gateway) fails on all of them after one bad release: one code, what they always ask for.
 * Keys that are refused as such, several codes or many targets are somebody who tries keys.
 */
function triesKeys(bucket: Bucket, config: InvalidRequestBurstConfig): boolean {
  if (bucket.keys.length < config.min_keys || bucket.errors.invalid < config.min_errors) return false
  const codes = new Set(bucket.targets.map((target) => target.slice(target.lastIndexOf('|') + 1)))
  return bucket.refused_keys.length >= config.min_keys || codes.size >= WIDE || bucket.targets.length >= WIDE * config.min_targets
}

/**
 * Distinct targets that this entity never got an answer from: a gateway that fails on all of its models, or a role whose policy was
 * changed, asks for what it knows. Without history everything is unknown, and a busy new gateway has a few errors on each of its models: then the search must be
 * wide or loud, or at the close a good part of all requests.
 */
function isSearch(state: BurstState, bucket: Bucket, errors: number, settled: boolean, config: InvalidRequestBurstConfig, closing: boolean): boolean {
  if (settled) return unknownTargets(state, bucket) >= config.min_targets
  if (bucket.targets.length < config.min_targets) return false
  const loud = bucket.targets.length >= WIDE * config.min_targets || bucket.errors.invalid >= WIDE * config.min_errors
  return loud || (closing && 4 * errors >= bucket.requests)
}

const unknownTargets = (state: BurstState, bucket: Bucket): number =>
  bucket.targets.filter((target) => !state.knows(state.models, target.slice(0, target.indexOf('|')), bucket.start)).length

/** Limits and outages from a new address are a deploy; refused requests from there are somebody who does not know the way. */
function isStrange(bucket: Bucket, errors: number, fresh: readonly [string, PlaceUse][], base: Base, actor: boolean, config: InvalidRequestBurstConfig, closing: boolean): boolean {
  const invalid = fresh.reduce((sum, [, use]) => sum + use.invalid, 0)
  if (invalid >= Math.max(TRIES, minErrors(actor, config) / 2) && tenTail(invalid, base, actor) < config.surprise) return true
  const all = fresh.reduce((sum, [, use]) => sum + use.errors, 0)
  return closing && all >= Math.max(TRIES, errors / 2) && bucket.errors.invalid >= errors / 4
}

const severityOfDenied = (strange: boolean, success: boolean): Severity => (strange && success ? 'critical' : strange || success ? 'high' : 'medium')

/** The smallest of the one-minute, ten-minute and one-hour tails, times three for having looked three times. */
function tailOf(bucket: Bucket, errors: number, hour_errors: number | null, base: Base, actor: boolean): number {
  const { shape, rate } = believed(base, actor)
  const ten = gammaPoissonTail(errors, shape, rate)
  const one = gammaPoissonTail(Math.max(...bucket.minutes), shape, rate * 10)
  const hour = hour_errors === null ? 1 : gammaPoissonTail(hour_errors, shape, rate / 6)
  return Math.min(1, 3 * Math.min(ten, one, hour))
}

const tenTail = (errors: number, base: Base, actor: boolean): number => {
  const { shape, rate } = believed(base, actor)
  return 3 * gammaPoissonTail(errors, shape, rate)
}

const believed = ({ errors, buckets }: Base, actor: boolean) => ({ shape: errors + PRIOR_ERRORS, rate: buckets + (actor ? 5 : 1) })

function freshPlaces(state: BurstState, bucket: Bucket): [string, PlaceUse][] {
  const knows_asns = [...state.asns.values()].some((known) => known.since <= bucket.start - LAG * BUCKET_MS)
  return bucket.places.filter(([address, use]) => {
    // With known networks an address is new only if its network is: services change address at every deploy.
    if (knows_asns && use.asn !== null) return !state.knows(state.asns, String(use.asn), bucket.start)
    // Inside a private network every deploy brings new addresses, and nobody from outside can come from there.
    return state.addresses.size > 0 && !isPrivate(address) && !state.knows(state.addresses, address, bucket.start)
  })
}

function plainReason({ errors: { invalid, limit, quota, server } }: Bucket): Reason {
  const most = Math.max(invalid, limit, quota, server)
  if (most === quota) return 'quota-exhausted'
  if (most === limit) return 'rate-limited'
  return most === server ? 'provider-errors' : 'misconfiguration'
}

const insiders = new BlockList()
for (const [network, prefix] of [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['127.0.0.0', 8],
] as const)
  insiders.addSubnet(network, prefix, 'ipv4')
for (const [network, prefix] of [
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  insiders.addSubnet(network, prefix, 'ipv6')
insiders.addAddress('::1', 'ipv6')

function isPrivate(address: string): boolean {
  const family = isIP(address)
  return family !== 0 && insiders.check(address, family === 4 ? 'ipv4' : 'ipv6')
}
