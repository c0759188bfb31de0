/** Policies and belts, on the real embedded bus; the dispatcher is driven by hand so that time is the test's. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EmbeddedBus, openEmbeddedBus } from '../bus/embedded.ts'
import { nameUuid } from '../runtime/ids.ts'
import { systemClock } from '../runtime/clock.ts'
import { createLogger, silentLogger } from '../runtime/log.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Finding } from '../schemas/findings.ts'
import type { Response } from '../schemas/responses.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'
import { findingOf, type ManualClock, manualClock, MINUTE, NOON } from '../test/support/alert-fixtures.ts'
import { answerTo, decideResponse, listAlerts, listResponses, reasonOf, showAlert, verifyResponses } from './actions.ts'
import { alertsConfig, responsesConfig } from './config.ts'
import { createDispatcher, type DispatcherOptions, runDispatcher } from './dispatcher.ts'

const never = new AbortController().signal
let directory: string
let bus: EmbeddedBus
let clock: ManualClock

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tokenwatch-dispatch-'))
  bus = openEmbeddedBus({ directory }, { clock: systemClock, log: silentLogger })
  await bus.prepare(never)
  clock = manualClock(NOON + MINUTE)
})
afterEach(async () => {
  await bus.close()
  await rm(directory, { recursive: true, force: true })
})

function dispatcher(responses: unknown = {}, more: Partial<DispatcherOptions> = {}) {
  const made = createDispatcher({
    bus,
    alerts: alertsConfig.parse({}),
    responses: responsesConfig.parse(responses),
    sinks: new Map(),
    clock,
    log: silentLogger,
    console_url: 'https://c.example.com',
    ...more,
  })
  return {
    ...made,
    findings: (...records: Finding[]) => made.handle({ topic: 'findings.v1', partition: 0, first: 0n, last: 0n, records }, never),
    act: async (act: 'approve' | 'deny', response: Response | undefined, who = 'ana') => {
      const action: AlertAction = {
        action_id: nameUuid(act, response?.response_id ?? '', who, clock.now()),
        act,
        alert_id: null,
        response_id: response?.response_id ?? null,
        who,
        why: 'it is ours',
        at: clock.now(),
        until: null,
      }
      await made.handle({ topic: 'alert-actions.v1', partition: 0, first: 0n, last: 0n, records: [action] }, never)
      return action
    },
  }
}

async function all<T extends TopicName>(topic: T): Promise<TopicValue<T>[]> {
  const records: TopicValue<T>[] = []
  await bus.replay(topic, (batch) => void records.push(...(batch.records as TopicValue<T>[])), never)
  return records
}
const steps = async () => (await all('responses.v1')).map((response) => response.step)
const lastDetail = async () => (await all('responses.v1')).at(-1)?.detail

describe('policy', () => {
  const young = () => findingOf()
  const cases: { name: string; responses: unknown; finding: () => Finding; approve: boolean; steps: Response['step'][]; commands: number }[] = [
    { name: 'off', responses: { policy: 'off' }, finding: young, approve: false, steps: [], commands: 0 },
    { name: 'dry-run by default', responses: {}, finding: young, approve: false, steps: ['proposed'], commands: 0 },
    { name: 'dry-run approved', responses: { people: ['ana'] }, finding: young, approve: true, steps: ['proposed', 'refused'], commands: 0 },
    { name: 'approve, waiting', responses: { policy: 'approve', people: ['ana'] }, finding: young, approve: false, steps: ['proposed'], commands: 0 },
    { name: 'approve, approved', responses: { policy: 'approve', people: ['ana'] }, finding: young, approve: true, steps: ['proposed', 'approved', 'issued'], commands: 1 },
    { name: 'approve by a stranger', responses: { policy: 'approve', people: ['bob'] }, finding: young, approve: true, steps: ['proposed', 'refused'], commands: 0 },
    { name: 'approve with nobody allowed', responses: { policy: 'approve' }, finding: young, approve: true, steps: ['proposed', 'refused'], commands: 0 },
    { name: 'auto', responses: { policy: 'auto' }, finding: young, approve: false, steps: ['proposed', 'approved', 'issued'], commands: 1 },
    { name: 'auto for another detector', responses: { detectors: { geography: { policy: 'auto' } } }, finding: young, approve: false, steps: ['proposed'], commands: 0 },
    {
      name: 'auto, forbidden by the limit',
      responses: { policy: 'auto', limits: { actions_per_hour: 0 } },
      finding: young,
      approve: false,
      steps: ['proposed', 'refused'],
      commands: 0,
    },
    { name: 'auto, protected', responses: { policy: 'auto', protected: [{ id: 'fp_0123*' }] }, finding: young, approve: false, steps: ['refused'], commands: 0 },
    {
      name: 'auto, nothing to cut',
      responses: { policy: 'auto' },
      finding: () => findingOf({ api_key_id: null, entity: 'address:203.0.113.7' }),
      approve: false,
      steps: [],
      commands: 0,
    },
    ...['off', 'dry-run', 'approve', 'auto'].flatMap((policy) => [
      { name: `${policy}, backfilled`, responses: { policy }, finding: () => findingOf({ backfill: true, run_id: 'r' }), approve: false, steps: [], commands: 0 },
      { name: `${policy}, old`, responses: { policy }, finding: () => findingOf({ window_start: NOON - 60 * MINUTE, detected_at: NOON }), approve: false, steps: [], commands: 0 },
    ]),
  ]
  it.each(cases)('$name', async ({ responses, finding, approve, steps: expected, commands }) => {
    const loop = dispatcher(responses)
    await loop.findings(finding())
    if (approve) await loop.act('approve', (await listResponses(bus))[0])
    expect(await steps()).toEqual(expected)
    expect(await all('commands.v1')).toHaveLength(commands)
    expect(await verifyResponses(bus)).toEqual([])
  })
})

describe('an approval', () => {
  const config = { policy: 'approve', people: ['ana', 'bob'] }

  it('makes one command with its reason, whatever is repeated', async () => {
    const loop = dispatcher(config, { blastRadius: async () => ({ callers: 3, services: ['ranking'], teams: ['search'], spend_usd_24h: '812.5' }) })
    await loop.findings(findingOf())
    const [proposal] = await all('responses.v1')
    expect(proposal).toMatchObject({
      action: 'disable-key',
      dry_run: false,
      target: { kind: 'api-key', id: 'fp_0123456789abcdef', provider: 'openai' },
      blast_radius: { callers: 3 },
    })
    const action = await loop.act('approve', proposal)
    await loop.handle({ topic: 'alert-actions.v1', partition: 0, first: 0n, last: 0n, records: [action] }, never)
    await dispatcher(config).handle({ topic: 'alert-actions.v1', partition: 0, first: 0n, last: 0n, records: [action] }, never)
    await dispatcher(config).tick(never)
    expect(await steps()).toEqual(['proposed', 'approved', 'issued'])
    const [command] = await all('commands.v1')
    expect(command).toMatchObject({ action: 'disable-key', reason: 'it is ours', dry_run: false, evidence_url: `https://c.example.com/alerts/${proposal?.alert_id}` })
    expect(command?.expires_at).toBe(NOON + 16 * MINUTE)
  })

  it('comes too late for old findings and for expired proposals', async () => {
    const loop = dispatcher(config)
    await loop.findings(findingOf())
    await clock.advance(20 * MINUTE)
    await loop.act('approve', (await listResponses(bus))[0])
    expect(await lastDetail()).toContain('max_finding_age')
    await loop.findings(findingOf({ entity: 'key:fp_b', api_key_id: 'fp_b', window_start: NOON + 20 * MINUTE }))
    await clock.advance(61 * MINUTE)
    await loop.tick(never)
    expect(await steps()).toEqual(['proposed', 'refused', 'proposed', 'expired'])
    await loop.act('approve', (await listResponses(bus))[0])
    expect(await lastDetail()).toContain('already expired')
    expect(await all('commands.v1')).toEqual([])
  })

  it('by a stranger leaves the proposal standing; a denial closes it', async () => {
    const loop = dispatcher(config)
    await loop.findings(findingOf())
    const [proposal] = await listResponses(bus)
    await loop.act('approve', proposal, 'eve')
    expect((await listResponses(bus))[0]?.step).toBe('proposed')
    await loop.act('deny', proposal, 'bob')
    await loop.act('approve', proposal, 'ana')
    expect(await steps()).toEqual(['proposed', 'refused', 'denied', 'refused'])
    expect((await listResponses(bus))[0]?.step).toBe('denied')
    expect(await all('commands.v1')).toEqual([])
  })

  it('refused to somebody who takes the name of the policy leaves everything as it stood', async () => {
    const loop = dispatcher(config)
    await loop.findings(findingOf())
    const [proposal] = await listResponses(bus)
    await loop.act('deny', proposal, 'policy')
    expect((await listResponses(bus))[0]?.step).toBe('proposed')
    await loop.act('approve', proposal, 'ana')
    expect(await steps()).toEqual(['proposed', 'refused', 'approved', 'issued'])
  })

  it.each(['off', 'dry-run'])('is refused when the config says %s by then', async (policy) => {
    await dispatcher(config).findings(findingOf())
    await dispatcher({ ...config, policy }).act('approve', (await listResponses(bus))[0])
    expect(await steps()).toEqual(['proposed', 'refused'])
    expect(await lastDetail()).toContain(`responses.policy is ${policy} by now`)
    expect(await all('commands.v1')).toEqual([])
  })

  it('lost with its process is issued by the next one', async () => {
    const loop = dispatcher(config)
    await loop.findings(findingOf())
    const broken = dispatcher(config, {
      bus: { ...bus, publish: (topic, values) => (topic === 'commands.v1' && values.length > 0 ? Promise.reject(new Error('gone')) : bus.publish(topic, values)) },
    })
    await expect(broken.act('approve', (await listResponses(bus))[0])).rejects.toThrow('gone')
    expect(await steps()).toEqual(['proposed', 'approved'])
    await dispatcher(config).tick(never)
    expect(await steps()).toEqual(['proposed', 'approved', 'issued'])
    expect(await all('commands.v1')).toHaveLength(1)
  })
})

describe('a config that was disarmed', () => {
  const failing = (publish: DispatcherOptions['bus']['publish']): Partial<DispatcherOptions> => ({ bus: { ...bus, publish } })

  it('does not carry out what had been approved', async () => {
    const gone = failing((topic, values) => (topic === 'commands.v1' && values.length > 0 ? Promise.reject(new Error('gone')) : bus.publish(topic, values)))
    await expect(dispatcher({ policy: 'auto' }, gone).findings(findingOf())).rejects.toThrow('gone')
    expect(await steps()).toEqual(['proposed', 'approved'])
    await dispatcher({ policy: 'off' }).tick(never)
    expect(await steps()).toEqual(['proposed', 'approved', 'refused'])
    expect(await all('commands.v1')).toEqual([])
  })

  it.each(['off', 'dry-run', 'approve'])('%s does not decide by itself what was proposed under auto', async (policy) => {
    const half = failing(async (topic, values) => {
      await bus.publish(topic, topic === 'responses.v1' ? values.slice(0, 1) : values)
      throw new Error('gone')
    })
    await expect(dispatcher({ policy: 'auto' }, half).findings(findingOf())).rejects.toThrow('gone')
    await dispatcher({ policy }).findings(findingOf())
    await dispatcher({ policy }).tick(never)
    expect(await steps()).toEqual(['proposed'])
    expect(await all('commands.v1')).toEqual([])
  })
})

describe('limits', () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => findingOf({ entity: `key:fp_${index}`, api_key_id: `fp_${index}` }))

  it('a burst of a hundred under auto carries out none', async () => {
    await dispatcher({ policy: 'auto', limits: { actions_per_hour: 5 } }, { activeKeys: async () => 1000 }).findings(...many(100))
    expect((await steps()).filter((step) => step === 'refused')).toHaveLength(100)
    expect(await all('commands.v1')).toEqual([])
    expect(await verifyResponses(bus)).toEqual([])
  })

  it('an approval beyond the limit aborts all that waits', async () => {
    const loop = dispatcher({ policy: 'approve', people: ['ana'] })
    await loop.findings(...many(3))
    const [first, second] = await listResponses(bus)
    await loop.act('approve', first)
    await loop.act('approve', second)
    expect((await listResponses(bus)).map((response) => response.step).sort()).toEqual(['issued', 'refused', 'refused'])
    expect(await all('commands.v1')).toHaveLength(1)
  })

  it('a share of the active keys bounds it as well, never below one', async () => {
    const two = (activeKeys: number | null) => dispatcher({ policy: 'auto', limits: { actions_per_hour: 10 } }, { activeKeys: async () => activeKeys })
    await two(39).findings(...many(2))
    expect(await all('commands.v1')).toEqual([])
    await two(40).findings(...many(2).map((finding) => ({ ...finding, ...findingOf({ entity: `${finding.entity}x`, api_key_id: `${finding.api_key_id}x` }) })))
    expect(await all('commands.v1')).toHaveLength(2)
  })
})

it('a lookup that fails or hangs does not hold up the proposal', async () => {
  await dispatcher({}, { blastRadius: () => Promise.reject(new Error('no store')) }).findings(findingOf())
  expect((await all('responses.v1'))[0]).toMatchObject({ step: 'proposed', blast_radius: null })
})

it('a proposal lost with its process is made by the redelivered finding', async () => {
  const broken = dispatcher({}, { bus: { ...bus, publish: (topic, values) => (topic === 'alerts.v1' ? Promise.reject(new Error('gone')) : bus.publish(topic, values)) } })
  await expect(broken.findings(findingOf())).rejects.toThrow('gone')
  await dispatcher().findings(findingOf())
  await dispatcher().findings(findingOf())
  expect(await steps()).toEqual(['proposed'])
  expect(await all('alerts.v1')).toHaveLength(1)
})

it('what a stop cut short while it was read is not kept', async () => {
  await dispatcher().findings(findingOf())
  const stop = new AbortController()
  const replay: DispatcherOptions['bus']['replay'] = async (topic, visit, signal) => {
    if (signal.aborted || topic !== 'alerts.v1') return bus.replay(topic, visit, signal)
    stop.abort()
  }
  const loop = dispatcher({}, { bus: { ...bus, replay: (...given) => (stop.signal.aborted ? bus.replay(...given) : replay(...given)) } })
  const again = { topic: 'findings.v1' as const, partition: 0, first: 0n, last: 0n, records: [findingOf({ revision: 1 })] }
  await expect(loop.handle(again, stop.signal)).rejects.toThrow('stopped')
  await loop.handle(again, never)
  expect((await all('alerts.v1')).map(({ revision }) => revision)).toEqual([0, 1])
})

it('people read and act by the first characters of an id', async () => {
  const loop = dispatcher({ policy: 'approve', people: ['ana'] })
  await loop.findings(findingOf())
  const [alert] = await listAlerts(bus)
  expect((await showAlert(bus, alert?.alert_id.slice(0, 8) ?? '')).alert_id).toBe(alert?.alert_id)
  await expect(showAlert(bus, 'zzz')).rejects.toThrow('no alert "zzz"')
  const [proposal] = await listResponses(bus)
  const action = await decideResponse(bus, 'approve', { id: proposal?.response_id.slice(0, 8) ?? '', who: ' ana\n', why: null, now: clock.now() })
  expect(action).toMatchObject({ response_id: proposal?.response_id, who: 'ana' })
  expect(await all('alert-actions.v1')).toEqual([action])
})

it('people get the answer to their act, with its reason', async () => {
  const loop = dispatcher({ people: ['ana'] })
  await loop.findings(findingOf())
  const id = (await listResponses(bus))[0]?.response_id ?? ''
  const answered = async (act: 'approve' | 'deny', who: string) => {
    const action = await decideResponse(bus, act, { id, who, why: null, now: clock.now() })
    expect(await answerTo(bus, action, { clock, within_ms: 5_000 }), 'nobody runs').toBeUndefined()
    await loop.handle({ topic: 'alert-actions.v1', partition: 0, first: 0n, last: 0n, records: [action] }, never)
    const answer = await answerTo(bus, action, { clock, within_ms: 0 })
    return [answer?.step, answer === undefined ? null : reasonOf(answer, action)]
  }
  expect(await answered('approve', 'bob')).toEqual(['refused', expect.stringContaining('dry-run proposal; set responses.policy')])
  expect(await answered('deny', 'bob')).toEqual(['refused', 'bob is not in responses.people'])
  expect(await answered('deny', 'ana')).toEqual(['denied', null])
})

it('a record that was changed afterwards breaks the chain', async () => {
  const loop = dispatcher({ policy: 'approve', people: ['ana'] })
  await loop.findings(findingOf())
  await loop.act('deny', (await listResponses(bus))[0])
  const { verifyChains } = await import('./chain.ts')
  const records = await all('responses.v1')
  expect(verifyChains([...records, ...records])).toEqual([])
  expect(verifyChains(records.map((record, index) => (index === 1 ? { ...record, who: 'eve' } : record)))[0]).toContain('changed')
  expect(verifyChains(records.slice(1))[0]).toContain('missing')
})

it('a second process says so loudly, one alone says nothing', async () => {
  const hurried = { now: () => systemClock.now(), sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 50), signal) }
  const stop = new AbortController()
  const run = (lines: string[]) => {
    const log = createLogger({ write: (line) => void lines.push(line) })
    return runDispatcher({ bus, alerts: alertsConfig.parse({}), responses: responsesConfig.parse({}), sinks: new Map(), clock: hurried, log }, stop.signal)
  }
  const loud = (lines: string[]) => lines.filter((line) => line.includes('another process has the role alert'))
  const [one, two]: [string[], string[]] = [[], []]
  const first = run(one)
  while (!(await bus.lag('alert')).some(({ topic }) => topic === 'findings.v1')) await systemClock.sleep(20)
  await systemClock.sleep(500)
  const before = loud(one).length
  const second = run(two)
  while (loud(one).length === before || loud(two).length === 0) await systemClock.sleep(20)
  stop.abort()
  await Promise.all([first, second])
  expect(before).toBe(0)
})
