/** Nothing between a finding and its mail is lost when the process dies, on the real embedded bus with a real SMTP server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openEmbeddedBus } from '../../bus/embedded.ts'
import { readIncidents } from '../../alert/incidents.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { Finding } from '../../schemas/findings.ts'
import type { TopicName, TopicValue } from '../../schemas/topics.ts'
import { findingOf } from '../support/alert-fixtures.ts'
import { startSmtp, type SmtpReceiver } from '../support/smtp.ts'

const PROGRAM = fileURLToPath(new URL('../support/alert-process.ts', import.meta.url))
const never = new AbortController().signal

let directory: string
let smtp: SmtpReceiver
let children: ChildProcess[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tokenwatch-alert-'))
  smtp = await startSmtp()
  children = []
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await smtp.close()
  await rm(directory, { recursive: true, force: true })
})

const config = (port = smtp.port) => ({
  alerts: {
    sinks: { mail: { kind: 'email', host: '127.0.0.1', port, tls: 'none', from: 'tokenwatch@example.com', to: ['soc@example.com'] } },
    delivery: { timeout: '5s', retries: Array.from({ length: 20 }, () => '300ms') },
  },
})

/** Starts the role; resolves with the child and a promise of how it ended. */
function start(settings: unknown, crashAt?: string): { child: ChildProcess; ended: Promise<string>; errors: () => string } {
  const { NODE_OPTIONS: _, TOKENWATCH_CRASH_AT: __, ...env } = process.env
  const child = spawn(process.execPath, [PROGRAM, directory, JSON.stringify(settings)], {
    env: { ...env, ...(crashAt === undefined ? {} : { TOKENWATCH_CRASH_AT: crashAt }) },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  children.push(child)
  let errors = ''
  child.stderr?.on('data', (part: Buffer) => (errors += part.toString()))
  const ended = new Promise<string>((resolve) => child.on('exit', (code, signal) => resolve(signal ?? String(code))))
  return { child, ended, errors: () => errors }
}

async function withBus<T>(work: (bus: ReturnType<typeof openEmbeddedBus>) => Promise<T>): Promise<T> {
  const bus = openEmbeddedBus({ directory }, { clock: systemClock, log: silentLogger })
  try {
    await bus.prepare(never)
    return await work(bus)
  } finally {
    await bus.close()
  }
}

const all = <T extends TopicName>(topic: T): Promise<TopicValue<T>[]> =>
  withBus(async (bus) => {
    const records: TopicValue<T>[] = []
    await bus.replay(topic, (batch) => void records.push(...(batch.records as TopicValue<T>[])), never)
    return records
  })

/** Longer than the lease of a dead member of a group (10 s). */
async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 1_500; tries++) {
    if (await condition()) return
    await systemClock.sleep(50)
  }
  throw new Error(`waited in vain for ${what}`)
}

const recent = (entity: string, change: Partial<Finding> = {}): Finding => {
  const now = systemClock.now()
  return findingOf({ entity, window_start: now - 60_000, detected_at: now, first_event_time: now - 59_000, last_event_time: now - 1000, api_key_id: entity.slice(4), ...change })
}

const messageIds = (): string[] => smtp.mails.map(({ mail }) => mail.messageId ?? '')

describe.each(['alert.after-transition', 'alert.before-send', 'alert.after-send', 'alert.after-delivery'])('killed at %s', (point) => {
  it('every alert is told, under one Message-ID, and a proposal stands once', async () => {
    const findings = ['key:fp_a', 'key:fp_b', 'key:fp_c'].map((entity) => recent(entity))
    const old = recent('key:fp_old', { backfill: true, run_id: 'r1' })
    await withBus((bus) => bus.publish('findings.v1', [...findings, old]))
    const first = start(config(), point)
    expect(await first.ended, first.errors()).toBe('SIGKILL')
    const second = start(config())
    await until('three mails', () => new Set(messageIds()).size === 3)
    await until('everything recorded', async () => (await all('deliveries.v1')).filter((record) => record.outcome === 'accepted').length >= 3)
    second.child.kill('SIGTERM')
    expect(await second.ended, second.errors()).toBe('0')

    expect(new Set(messageIds()).size).toBe(3)
    // Only the one send whose answer died with the process may be repeated, under the same id.
    expect(smtp.mails.length).toBeLessThanOrEqual(point === 'alert.after-send' ? 4 : 3)
    const { byId } = await withBus((bus) => readIncidents(bus, never))
    expect([...byId.values()].map((alert) => alert.backfill).filter((backfill) => !backfill)).toHaveLength(3)
    expect(byId.size).toBe(4)
    const proposals = (await all('responses.v1')).filter((response) => response.step === 'proposed')
    expect(proposals.map((proposal) => proposal.target.id).sort()).toEqual(['fp_a', 'fp_b', 'fp_c'])
    expect(proposals.every((proposal) => proposal.dry_run)).toBe(true)
    expect(await all('commands.v1')).toEqual([])
  }, 180_000)
})

it('a mail server that is away delays the mail and loses none; a restart in between keeps the schedule', async () => {
  const { port } = smtp
  await smtp.close()
  const first = start(config(port))
  await withBus((bus) => bus.publish('findings.v1', [recent('key:fp_a'), recent('key:fp_b')]))
  await until('two failed attempts', async () => (await all('deliveries.v1')).filter((record) => record.outcome === 'retry').length >= 2)
  first.child.kill('SIGTERM')
  expect(await first.ended, first.errors()).toBe('0')
  smtp = await startSmtp({ port })
  const second = start(config(port))
  await until('two mails', () => smtp.mails.length >= 2)
  await until('both recorded', async () => (await all('deliveries.v1')).filter((record) => record.outcome === 'accepted').length >= 2)
  second.child.kill('SIGTERM')
  expect(await second.ended).toBe('0')
  expect(smtp.mails).toHaveLength(2)
  expect(new Set(messageIds()).size).toBe(2)
}, 180_000)
