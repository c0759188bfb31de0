import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Fragment } from '../schemas/fragments.ts'
import type { ParsedUsage } from './format.ts'
import { azureApim } from './formats/azure-apim/index.ts'
import { joiners } from './formats/index.ts'
import { type Joined, JoinTable } from './join-table.ts'

const AT = Date.UTC(2026, 2, 2, 10)
const MINUTE = 60_000
const limits = { wait: 15 * MINUTE, remember: 60 * MINUTE, max_requests: 100 }
const open = (changed: Partial<typeof limits> = {}): JoinTable => new JoinTable(joiners(), { ...limits, ...changed })

const llm = { TimeGenerated: '2026-03-02T10:00:00.2Z', DeploymentName: 'chat', ModelName: 'gpt-4o', PromptTokens: 40, CompletionTokens: 2, TotalTokens: 42, SequenceNumber: 0 }
const gateway = {
  TimeGenerated: '2026-03-02T10:00:00.1Z',
  ApimSubscriptionId: 'team-a',
  CallerIpAddress: '203.0.113.7',
  ResponseCode: 200,
  IsRequestSuccess: true,
  TotalTime: 900,
  Method: 'POST',
  Url: 'https://gw.example/openai/deployments/chat/chat/completions',
}
const body = JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion', model: 'gpt-4o', usage: { prompt_tokens: 40, completion_tokens: 2, total_tokens: 42 } })

/** What the format makes of a row. */
function part(row: Record<string, unknown>, id: string): Fragment {
  const verdict = azureApim
    .create({})
    .parse(
      { id: '1', at: AT, ingested_at: null, body: '', origin: { source: 'test', stream: 'test' } },
      { json: { ...row, CorrelationId: id }, now: AT + MINUTE, occurrence: () => 0 },
    )
  const [fragment] = verdict.kind === 'accept' ? (verdict.fragments ?? []) : []
  if (fragment === undefined) throw new Error(JSON.stringify(verdict))
  return fragment
}
function usage(joined: Joined | undefined): ParsedUsage['event'] {
  if (joined?.event.topic !== 'usage.v1') throw new Error('no usage')
  return joined.event.event
}
const seen = (all: readonly Joined[]) => all.map((one) => [usage(one).revision, usage(one).input_tokens, usage(one).owner_ref, usage(one).flags])

describe('joining', () => {
  it.each([
    ['gateway', [part(gateway, 'a'), part(llm, 'a')]],
    ['tokens', [part(llm, 'a'), part(gateway, 'a')]],
  ])('gives one event, whole, %s first', (_name, [first, second]) => {
    const table = open()
    expect(table.add(first as Fragment, AT)).toEqual([])
    const [event] = table.add(second as Fragment, AT + MINUTE)
    expect(usage(event)).toMatchObject({ revision: 0, input_tokens: 40, output_tokens: 2, owner_ref: 'subscription:team-a', client_ip: '203.0.113.7', duration_ms: 900, flags: [] })
    expect(table.due(AT + 1000 * MINUTE)).toEqual([])
  })

  it('waits for minutes, then tells what is known, then revises with the same id and time', () => {
    const table = open()
    table.add(part(llm, 'a'), AT)
    expect(table.due(AT + 14 * MINUTE)).toEqual([])
    const [half] = table.due(AT + 15 * MINUTE)
    expect(seen([half as Joined])).toEqual([[0, 40, null, ['caller-missing']]])
    const [whole] = table.add(part(gateway, 'a'), AT + 20 * MINUTE)
    expect(usage(whole)).toMatchObject({ event_id: usage(half).event_id, event_time: usage(half).event_time, revision: 1, owner_ref: 'subscription:team-a', flags: [] })
  })

  it('flags what is missing of a gateway row, and tells none that is no model call', () => {
    const table = open()
    table.add(part(gateway, 'a'), AT)
    table.add(part({ ...gateway, Url: 'https://gw.example/orders' }, 'b'), AT)
    expect(seen(table.due(AT + 15 * MINUTE))).toEqual([[0, null, 'subscription:team-a', ['tokens-missing']]])
    expect(table.dropped).toBe(1)
    expect(table.waiting).toBe(0)
  })

  it('takes a row of a path that it does not know for a call once the tokens come', () => {
    const table = open()
    table.add(part({ ...gateway, Url: 'https://gw.example/ask-anything' }, 'b'), AT)
    expect(seen(table.add(part(llm, 'b'), AT))).toEqual([[0, 40, 'subscription:team-a', []]])
  })

  it('does not repeat what the format has told, whichever side came first', () => {
    for (const order of [
      [part({ ...gateway, BackendResponseBody: body }, 'a'), part(llm, 'a')],
      [part(llm, 'a'), part({ ...gateway, BackendResponseBody: body }, 'a')],
    ]) {
      const table = open()
      expect(order.flatMap((fragment) => table.add(fragment, AT))).toEqual([])
      expect(table.due(AT + 100 * MINUTE)).toEqual([])
    }
  })

  it('revises what the format has told when the other side knows more', () => {
    const table = open()
    table.add(part({ ...gateway, ResponseCode: 500 }, 'a'), AT)
    expect(usage(table.add(part(llm, 'a'), AT)[0])).toMatchObject({ revision: 1, input_tokens: 40, status_code: 500, outcome: 'server_error' })
  })

  it('is not moved by copies, before and after it was told', () => {
    const table = open()
    const all = [part(llm, 'a'), part(llm, 'a'), part(gateway, 'a'), part(gateway, 'a'), part(llm, 'a')]
    expect(all.flatMap((fragment) => table.add(fragment, AT))).toHaveLength(1)
  })

  it('keeps runs apart', () => {
    const table = open()
    table.add(part(llm, 'a'), AT)
    expect(table.add({ ...part(gateway, 'a'), run_id: 'run' }, AT)).toEqual([])
  })

  it('tells the oldest halves when too many wait, and forgets the oldest told', () => {
    const table = open({ max_requests: 3 })
    const out = [1, 2, 3, 4, 5].flatMap((n) => table.add(part(llm, `r${n}`), AT + n))
    expect(out.map((one) => one.correlation_id)).toEqual(['r1', 'r2'])
    expect(table.waiting).toBe(3)
  })

  it('remembers over a restart, and deletes what it forgets', () => {
    const table = open()
    table.add(part(llm, 'a'), AT)
    table.add(part(llm, 'b'), AT)
    table.add(part(gateway, 'b'), AT)
    table.settle()
    const saved = table.takeChanges()
    const again = open()
    expect(again.restore([...saved].flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])))).toBe(0)
    expect(again.add(part(llm, 'b'), AT)).toEqual([])
    expect(seen(again.add(part(gateway, 'a'), AT))).toEqual([[0, 40, 'subscription:team-a', []]])
    again.due(AT + 61 * MINUTE)
    again.settle()
    expect([...again.takeChanges().values()]).toEqual([undefined, undefined])
    expect(again.restore([['x', Buffer.from('no json')]])).toBe(1)
  })

  it('ends with the whole event whatever the order, the copies, the pauses and the crashes', () => {
    const step = fc.record({ request: fc.nat(3), side: fc.constantFrom('llm', 'gateway', 'body'), pause: fc.constantFrom(0, 1, 16), crash: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        let table = open({ remember: Infinity })
        const saved = new Map<string, Uint8Array>()
        const told = new Map<string, ParsedUsage['event'][]>()
        const tell = (all: readonly Joined[]) => all.forEach((one) => told.set(one.correlation_id, [...(told.get(one.correlation_id) ?? []), usage(one)]))
        const sides = new Map<string, Set<string>>()
        let now = AT
        for (const { request, side, pause, crash } of steps) {
          const id = `r${request}`
          now += pause * MINUTE
          const row = side === 'llm' ? llm : side === 'gateway' ? gateway : { ...gateway, BackendResponseBody: body }
          // A crash between bus and store: told, but not saved, so the same part comes again to what was saved before.
          for (let turn = 0; turn < (crash ? 2 : 1); turn++) {
            tell(table.due(now))
            tell(table.add(part(row, id), now))
            if (crash && turn === 0) {
              table = open({ remember: Infinity })
              table.restore(saved)
              continue
            }
            table.settle()
            for (const [key, value] of table.takeChanges()) {
              if (value === undefined) saved.delete(key)
              else saved.set(key, value)
            }
          }
          sides.set(id, (sides.get(id) ?? new Set()).add(side === 'llm' ? 'llm' : side === 'body' && !sides.get(id)?.has('gateway') ? 'body' : 'gateway'))
        }
        tell(table.flush())
        for (const [id, parts] of sides) {
          const events = told.get(id) ?? []
          const best = events.reduce<ParsedUsage['event'] | undefined>((a, b) => (a === undefined || b.revision >= a.revision ? b : a), undefined)
          // The format tells a row with a body itself.
          if (best === undefined) expect(parts.has('body')).toBe(true)
          else {
            expect(best.flags.includes('caller-missing')).toBe(!parts.has('gateway') && !parts.has('body'))
            expect(best.flags.includes('tokens-missing')).toBe(!parts.has('llm') && !parts.has('body'))
            expect(new Set(events.map(({ event_id, event_time }) => `${event_id} ${event_time}`)).size).toBe(1)
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})
