/** geography: a key or an actor shows up in a network or country that its history gives no reason for. README.md has the method. */
import type { DetectedFinding, DetectorSpec, Step } from '../../detector.ts'
import { type GeographyConfig, geographyConfig } from './config.ts'
import { ATTACK, judge, outsideOf, tell } from './judge.ts'
import { GeographyState } from './state.ts'

export const geography: DetectorSpec<'usage.v1' | 'secret-access.v1', GeographyState, GeographyConfig> = {
  id: 'geography',
  summary: 'A key, or somebody who reads secrets, appears in a country or network that is new to it',
  config: geographyConfig,
  example: { min_history: '5d', allow: { asns: [64500], countries: ['CH'], cidrs: ['192.0.2.0/24'] } },
  version: '2',
  topics: ['usage.v1', 'secret-access.v1'],
  attack: ATTACK,
  keys(event) {
    if ('requests' in event) return [event.api_key_id === null ? event.owner_ref : `key:${event.api_key_id}`]
    // A service that calls for somebody has the service's address, not the caller's.
    return event.is_child || event.client_service !== null ? [] : [`actor:${event.actor_id}`]
  },
  step(state, input, key, { config, now }): Step<GeographyState> {
    state ??= new GeographyState()
    const findings: DetectedFinding[] = []
    if ('event' in input) {
      const bucket = state.add(input.event, outsideOf(config.allow))
      const finding = tell(state, key, bucket, judge(state, key, bucket, now, config).strange, false)
      if (finding) findings.push(finding)
    } else {
      const here = state
      here.close(input.tick, (bucket) => {
        const verdict = judge(here, key, bucket, input.tick, config)
        const finding = tell(here, key, bucket, verdict.strange, true)
        if (finding) findings.push(finding)
        return verdict
      })
      // What is still open may have waited for its past to be closed.
      for (const [, bucket] of here.ready(input.tick)) {
        const finding = tell(here, key, bucket, judge(here, key, bucket, input.tick, config).strange, false)
        if (finding) findings.push(finding)
      }
    }
    const wake_at = state.wakeAfter('event' in input ? now : input.tick)
    return wake_at === undefined ? { state, findings } : { state, findings, wake_at }
  },
  encode: (state) => state.encode(),
  decode: (bytes) => GeographyState.decode(bytes),
}
