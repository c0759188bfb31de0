/** What every sink must do. A new sink adds its world to worlds in sink.test.ts; the registry test fails until it does. */
import { expect, it } from 'vitest'
import type { AlertSink, Notification, Receipt } from '../../alert/sink.ts'
import { nameUuid } from '../../runtime/ids.ts'
import { applyFinding, noIncidents } from '../../alert/incidents.ts'
import { alertsConfig } from '../../alert/config.ts'
import { lifecyclePolicy } from '../../alert/routing.ts'
import type { Finding } from '../../schemas/findings.ts'
import type { Response } from '../../schemas/responses.ts'
import { findingOf } from '../support/alert-fixtures.ts'

/** A sink with a real other side that the test controls. */
export interface SinkWorld {
  sink: AlertSink
  /** Everything the other side got, as text that a person or program there would see (decoded). */
  seen(): Promise<string[]>
  /** What it shows as HTML, if it does. */
  html?: () => Promise<string[]>
  /** Ids of the messages that the other side got. */
  ids(): Promise<string[]>
  /** undefined: this sink cannot fail like that. */
  failTransiently?: () => void
  failWithRetryAfter?: () => void
  failForEver?: () => void
  goAway?: () => void
  swallow?: () => void
  heal?: () => void
  /** Values of the config that no error message and no message body may hold. */
  secrets: string[]
  close(): Promise<void>
}

/** A text that is code somewhere: mail headers, HTML, terminals, chat, spreadsheets. */
export const CANARY = '<!channel> [x](https://e.test/a?b) =cmd| <b onclick="x">&amp; %0d%0a\r\nBcc: evil@e.test\r\n\u001b[31mred\u001b[0m \u202egnp.exe \u2028 {{7*7}} ${x}'

export function notificationOf(change: Partial<Finding> = {}, kind: Notification['kind'] = 'firing', proposal: Response | null = null): Notification {
  const policy = lifecyclePolicy(alertsConfig.parse({}))
  const [result] = applyFinding(noIncidents(), findingOf(change), policy)
  const alert = result?.alert
  if (alert === undefined) throw new Error('the finding made no alert')
  return { notification_id: nameUuid(alert.alert_id, kind, ''), kind, alert, proposal, sequence: 0 }
}

export const hostileNotification = (): Notification =>
  notificationOf({
    title: CANARY,
    summary: CANARY,
    team_id: CANARY,
    service: CANARY,
    owner_ref: CANARY,
    reason: CANARY,
    provider: CANARY,
    evidence: { [CANARY]: CANARY, rows: [{ [CANARY]: CANARY }], list: [CANARY] },
  })

export function sinkContract(open: () => Promise<SinkWorld>): void {
  const inWorld = (work: (world: SinkWorld) => Promise<void>) => async () => {
    const world = await open()
    try {
      await work(world)
    } finally {
      await world.sink.close?.()
      await world.close()
    }
  }
  const never = new AbortController().signal
  const clean = (receipt: Receipt, world: SinkWorld): void => {
    for (const secret of world.secrets) expect(JSON.stringify(receipt)).not.toContain(secret)
  }
  const failing = (name: string, pick: (world: SinkWorld) => (() => void) | undefined, check: (receipt: Receipt, world: SinkWorld) => Promise<void> | void) =>
    it(
      name,
      inWorld(async (world) => {
        const fail = pick(world)
        if (fail === undefined) return
        fail()
        const receipt = await world.sink.send(notificationOf(), never)
        clean(receipt, world)
        await check(receipt, world)
      }),
    )

  it(
    'delivers what matters and says accepted',
    inWorld(async (world) => {
      const notification = notificationOf()
      expect(await world.sink.send(notification, never)).toMatchObject({ outcome: 'accepted' })
      const [text = ''] = await world.seen()
      for (const part of ['token-spike', 'high', 'search', 'fp_0123456789abcdef', '12.50']) expect(text).toContain(part)
      for (const secret of world.secrets) expect(text).not.toContain(secret)
    }),
  )

  it(
    'sends the same id whenever a notification is repeated',
    inWorld(async (world) => {
      await world.sink.send(notificationOf(), never)
      await world.sink.send(notificationOf(), never)
      const ids = await world.ids()
      if (ids.length > 0) expect(ids).toEqual([ids[0], ids[0]])
    }),
  )

  failing(
    'asks for another try when the other side is busy, and delivers after it healed',
    (world) => world.failTransiently,
    async (receipt, world) => {
      expect(receipt.outcome).toBe('retry')
      expect(receipt.error).toBeTruthy()
      world.heal?.()
      expect((await world.sink.send(notificationOf(), never)).outcome).toBe('accepted')
    },
  )
  failing(
    'passes Retry-After on',
    (world) => world.failWithRetryAfter,
    (receipt) => expect(receipt).toMatchObject({ outcome: 'retry', retry_after_ms: 7000 }),
  )
  failing(
    'does not try again what is refused for ever',
    (world) => world.failForEver,
    (receipt) => expect(receipt.outcome).toBe('permanent'),
  )
  failing(
    'knows when the other side is gone',
    (world) => world.goAway,
    (receipt) => expect(receipt.outcome).toBe('disabled'),
  )

  it(
    'stops when it is told to, and does not claim to know what became of the message',
    inWorld(async (world) => {
      if (world.swallow === undefined) return
      world.swallow()
      const receipt = await world.sink.send(notificationOf(), AbortSignal.timeout(300))
      expect(receipt.outcome).toBe('unknown')
      clean(receipt, world)
    }),
  )

  it(
    'shows hostile text as text',
    inWorld(async (world) => {
      expect((await world.sink.send(hostileNotification(), never)).outcome).toBe('accepted')
      for (const text of await world.seen()) {
        // oxlint-disable-next-line no-control-regex
        expect(text).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029]/)
        expect(text).not.toMatch(/^bcc:/im)
      }
      for (const html of (await world.html?.()) ?? []) {
        expect(html).not.toMatch(/<b onclick|href|src=|https?:\/\//)
        expect(html).toContain('&lt;b onclick')
      }
    }),
  )
}
