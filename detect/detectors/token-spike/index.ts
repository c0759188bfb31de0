/** token-spike: a key spends, uses or asks far more than it ever does at this hour. Method, bounds and measurements: README.md. */
import type { UsageEvent } from '../../../schemas/usage.ts'
import type { DetectedFinding, DetectorInput, DetectorSpec, Step } from '../../detector.ts'
import { type Bucket, startOf } from './bucket.ts'
import { type TokenSpikeConfig, tokenSpikeConfig } from './config.ts'
import { ATTACK, isMature, isUnusual, judge, tell } from './judge.ts'
import { SpikeState } from './state.ts'

export const tokenSpike: DetectorSpec<'usage.v1', SpikeState, TokenSpikeConfig> = {
  id: 'token-spike',
  summary: 'Spend, tokens or requests of a key far above its own profile by hour of day, or above its team for a new key',
  config: tokenSpikeConfig,
  example: { min_usd_per_bucket: '1.00', cold_start: '3d' },
  version: '2',
  topics: ['usage.v1'],
  attack: ATTACK,
  keys: (event) => [keyOf(event), poolOf(event)],
  step(state, input, key, { config, now, gaps }) {
    state ??= new SpikeState(isPool(key))
    state.gaps = gaps
    return 'event' in input ? onEvent(state, input, now, config) : onTick(state, input.tick, config)
  },
  encode: (state) => state.encode(),
  decode: (bytes) => SpikeState.decode(bytes),
}

function onEvent(state: SpikeState, { event }: Extract<DetectorInput<'usage.v1'>, { event: unknown }>, now: number, config: TokenSpikeConfig): Step<SpikeState> {
  const entity = keyOf(event)
  const bucket = state.add(event, entity)
  state.catchUp(startOf(event.event_time), now)
  const verdict = judge(state, entity, bucket, now, config)
  const finding = verdict && tell(state, entity, bucket, verdict, false)
  return withWake(state, now, finding ? [finding] : [])
}

function onTick(state: SpikeState, tick: number, config: TokenSpikeConfig): Step<SpikeState> {
  const findings: DetectedFinding[] = []
  const look = (entity: string, bucket: Bucket, now: number, closing: boolean): boolean => {
    const verdict = judge(state, entity, bucket, now, config)
    const finding = verdict && tell(state, entity, bucket, verdict, closing)
    if (finding) findings.push(finding)
    if (verdict !== undefined || !state.pool || !closing) return verdict !== undefined
    return isMature(state, bucket, config) && isUnusual(state, bucket, config) !== undefined
  }
  state.close(tick, (entity, bucket, at) => look(entity, bucket, at, true))
  // Only then: what is still open must not be judged by a past that this tick has yet to close.
  for (const [start, buckets] of state.ready(tick)) {
    state.catchUp(start, tick)
    for (const [entity, bucket] of buckets) look(entity, bucket, tick, false)
  }
  return withWake(state, tick, findings)
}

const withWake = (state: SpikeState, now: number, findings: DetectedFinding[]): Step<SpikeState> => {
  const wake_at = state.wakeAfter(now)
  return wake_at === undefined ? { state, findings } : { state, findings, wake_at }
}

/** Prefixed, so that no owner_ref can be taken for a pool. */
const keyOf = (event: UsageEvent): string => (event.api_key_id === null ? event.owner_ref : `key:${event.api_key_id}`)
const poolOf = (event: UsageEvent): string => (event.team_id === null ? 'pool:organisation' : `pool:team:${event.team_id}`)
const isPool = (key: string): boolean => key.startsWith('pool:')
