/** One event of the parts of a request. The gateway's row says who and how it ended, the LLM row how many tokens. */
import { nameUuid } from '../../../runtime/ids.ts'
import { usageOutcome } from '../../../schemas/event.ts'
import type { Fragment } from '../../../schemas/fragments.ts'
import type { Joiner, ParsedUsage } from '../../format.ts'
import { noCounts, type UsageCounts } from '../../shapes/usage-counts.ts'

export const GATEWAY = 'gateway'
export const LLM = 'llm'

/** The same id for whatever part or copy of the request it is made of. */
export const eventIdOf = (correlation_id: string): string => nameUuid('azure-apim', correlation_id)

export const apimJoiner: Joiner = {
  parts: [GATEWAY, LLM],
  told: (part) => part.fields['told'] === true,
  event: (correlation_id, parts) => eventOf(correlation_id, parts),
}

/** null: a gateway row alone that does not look like a model call. */
export function eventOf(correlation_id: string, parts: readonly Fragment[]): ParsedUsage | null {
  const gateway = parts.find(({ part }) => part === GATEWAY)
  const llm = parts.find(({ part }) => part === LLM)
  const [first] = parts
  if (first === undefined || (llm === undefined && gateway?.fields['call'] !== true)) return null
  const text = (name: string): string | null => textIn(gateway, name) ?? textIn(llm, name)
  const counts = countsOf(gateway, llm)
  const outcome = usageOutcome.safeParse(gateway?.fields['outcome']).data ?? 'success'
  const subscription = textIn(gateway, 'subscription_id')
  const deployment = textIn(llm, 'deployment') ?? textIn(gateway, 'deployment')
  return {
    topic: 'usage.v1',
    event: {
      event_id: eventIdOf(correlation_id),
      event_time: (gateway ?? llm ?? first).event_time,
      revision: 0,
      account_id: text('account_id'),
      region: text('region'),
      owner_ref: subscription === null ? null : `subscription:${subscription}`,
      service: null,
      client_ip: textIn(gateway, 'client_ip'),
      client_ip_prefix: numberIn(gateway, 'client_ip_prefix'),
      user_agent: textIn(gateway, 'user_agent'),
      provider: textIn(gateway, 'provider') ?? 'azure.ai.openai',
      operation: textIn(gateway, 'operation') ?? textIn(llm, 'operation'),
      project_id: null,
      org_id: null,
      // What a subscription key unlocks and what is switched off to stop it: the gateway's tracking id of the key.
      api_key_id: subscription,
      user_id: textIn(gateway, 'user_id'),
      deployment,
      model: textIn(gateway, 'model') ?? textIn(llm, 'model'),
      request_model: deployment,
      tier: textIn(gateway, 'tier') ?? 'default',
      stream: flagIn(gateway, 'stream') ?? flagIn(llm, 'stream'),
      ...(counts?.counts ?? noCounts),
      images: null,
      requests: 1,
      usage_source: counts?.source ?? 'absent',
      status_code: numberIn(gateway, 'status_code'),
      outcome,
      error_type: textIn(gateway, 'error_type'),
      error_code: textIn(gateway, 'error_code'),
      duration_ms: numberIn(gateway, 'duration_ms'),
      request_id: correlation_id,
      response_id: textIn(gateway, 'response_id'),
      flags: flagsOf(gateway, llm, counts !== null, outcome === 'success'),
    },
  }
}

/** A logged body has the whole usage, cached and reasoning tokens too; the LLM log has two sums. */
function countsOf(gateway: Fragment | undefined, llm: Fragment | undefined): { source: 'provider' | 'log'; counts: UsageCounts } | null {
  const names = Object.keys(noCounts) as (keyof UsageCounts)[]
  for (const [part, source] of [[gateway, 'provider'] as const, [llm, 'log'] as const]) {
    const entries = names.map((name) => [name, numberIn(part, name)] as const)
    if (entries.some(([, value]) => value !== null)) return { source, counts: Object.fromEntries(entries) as unknown as UsageCounts }
  }
  return null
}

function flagsOf(gateway: Fragment | undefined, llm: Fragment | undefined, is_counted: boolean, is_success: boolean): string[] {
  const flags = textIn(gateway, 'flags')?.split(',') ?? []
  if (flagIn(llm, 'inconsistent') === true) flags.push('tokens-inconsistent')
  // A refused call used no tokens: that there are none is no gap.
  if (!is_counted && is_success) flags.push('tokens-missing')
  if (gateway === undefined) flags.push('caller-missing')
  return flags
}

function textIn(part: Fragment | undefined, name: string): string | null {
  const value = part?.fields[name]
  return typeof value === 'string' && value !== '' ? value : null
}

function numberIn(part: Fragment | undefined, name: string): number | null {
  const value = part?.fields[name]
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

function flagIn(part: Fragment | undefined, name: string): boolean | null {
  const value = part?.fields[name]
  return typeof value === 'boolean' ? value : null
}
