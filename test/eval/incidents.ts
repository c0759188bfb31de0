/** Incidents to lay over quiet traffic: each returns its malicious events and the key that suffers. */
import { seededRandom } from '../../runtime/random.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import { cloudPlace, EXPENSIVE, failed, MINUTE, type Place, usage } from './scenario.ts'

export interface Incident {
  entity: string
  events: UsageEvent[]
}

const HOSTING: Place = { ip: '203.0.113.77', country: 'NL', asn: 60781, as_name: 'LEASEWEB-NL' }
const CHECKER: Place = { ip: '203.0.113.9', country: 'DE', asn: 24940, as_name: 'HETZNER-AS' }

/** A key that burns `usd_per_minute` on an expensive model from its usual address. */
export function burn({ at, key, index, minutes = 30, usd_per_minute = 70 }: { at: number; key: string; index: number; minutes?: number; usd_per_minute?: number }): Incident {
  // 4,000 in and 1,000 out of the expensive model cost 0.12 USD.
  const per_minute = Math.max(1, Math.round(usd_per_minute / 0.12))
  const events: UsageEvent[] = []
  for (let n = 0; n < per_minute * minutes; n++) {
    const when = at + Math.floor((n * MINUTE) / per_minute)
    events.push(usage({ key, team: `team-${index % 5}`, at: when, input: 4000, output: 1000, model: EXPENSIVE, place: cloudPlace(index, 100), n }))
  }
  return { entity: `key:${key}`, events }
}

/** A leaked-key checker: about sixty invalid requests in two minutes over many models and codes from a new address, then a success. */
export function checker({ at, key, index, seed }: { at: number; key: string; index: number; seed: number }): Incident {
  const random = seededRandom(seed)
  const names = ['gpt-4o', 'gpt-4.1', 'o1', 'o3', 'gpt-4-32k', 'dall-e-3', 'claude-3-opus', 'whisper-1', 'gpt-5', 'text-davinci-003']
  const events: UsageEvent[] = []
  for (let n = 0; n < 60; n++) {
    const model = { name: names[Math.floor(random() * names.length)] ?? 'o1', input: 0, output: 0 }
    const event = usage({ key, team: `team-${index % 5}`, at: at + n * 2000, input: 1, output: 1, model, place: CHECKER, n })
    const outcome = random() < 0.5 ? 'client_error' : random() < 0.7 ? 'auth_failure' : 'rate_limited'
    events.push(failed({ ...event, operation: random() < 0.8 ? 'chat' : 'embeddings' }, outcome, outcome === 'client_error' && random() < 0.6 ? 'model_not_found' : undefined))
  }
  events.push(usage({ key, team: `team-${index % 5}`, at: at + 125_000, input: 20, output: 5, model: EXPENSIVE, place: CHECKER, n: 999 }))
  return { entity: `key:${key}`, events }
}

/** The key is used from a hosting provider in a new country while the normal use goes on. */
export function takeover({ at, key, index, minutes = 20 }: { at: number; key: string; index: number; minutes?: number }): Incident {
  const events: UsageEvent[] = []
  for (let n = 0; n < minutes * 4; n++) {
    events.push(
      usage({ key, team: `team-${index % 5}`, at: at + n * 15_000, input: 1500, output: 600, model: { name: 'gpt-4o-2024-08-06', input: 2.5, output: 10 }, place: HOSTING, n }),
    )
  }
  return { entity: `key:${key}`, events }
}
