/**
 * The spine on real Kafka: collect, store + ledger, detect + alert as three processes, a ClickHouse front over the engine as a
 * fourth, a real SMTP server. Each of ours is killed with -9 at every crash point of its room while work is in flight, and
 * started again. Afterwards the totals are those of one undisturbed embedded run, to the last digit, and each alert was told once.
 */
import { appendFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fingerprint, hashKey } from '../../ingest/fingerprint.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { CrashPoint } from '../../runtime/crash.ts'
import { nameUuid } from '../../runtime/ids.ts'
import { startClickHouseFront } from '../support/clickhouse-front/index.ts'
import { ensureKafka } from '../support/kafka/kafka.ts'
import { needs } from '../support/needs.ts'
import { eventually, runToEnd, runTokenwatch, type Running } from '../support/process.ts'
import { type SmtpReceiver, startSmtp } from '../support/smtp.ts'
import { chatLine, madeUpKey, refusedLine } from './log-lines.ts'

const ROLES = {
  collect: { roles: 'collect', crashes: ['collector.before-publish', 'collector.after-publish', 'collector.after-checkpoint'] },
  store: { roles: 'store', crashes: ['writer.before-insert', 'writer.after-insert', 'rollup.after-stage', 'rollup.after-replace'] },
  detect: {
    roles: 'detect,alert',
    crashes: ['runner.after-fold', 'runner.after-findings', 'runner.after-snapshot', 'alert.after-transition', 'alert.before-send', 'alert.after-send', 'alert.after-delivery'],
  },
} as const satisfies Record<string, { roles: string; crashes: CrashPoint[] }>
type Room = keyof typeof ROLES
/** Nothing here depends on how quick a machine is: what is late comes, what is lost never does. */
const PATIENCE_MS = 120_000

const has_kafka = needs('kafka')

describe.skipIf(!has_kafka)('three processes on real Kafka', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-three-'))
  const config = path.join(directory, 'three.yaml')
  const log_file = path.join(directory, 'logs', 'app.jsonl')
  const running = new Map<Room, Running>()
  const crashed: string[] = []
  let front: Awaited<ReturnType<typeof startClickHouseFront>>
  let smtp: SmtpReceiver
  const expected = { requests: 0, input_tokens: 0, output_tokens: 0, incidents: 0 }
  let serial = 0
  let findings = ''

  /** Ordinary calls, and one stolen-key checker on a key and an address of its own. */
  const write = (ordinary: number, incident: boolean) => {
    const lines: string[] = []
    const now = systemClock.now()
    for (let n = 0; n < ordinary; n++) {
      const id = `${(serial += 1)}`
      const input_tokens = 500 + (serial % 700)
      const output_tokens = 50 + (serial % 90)
      lines.push(chatLine({ id, at: now - (n % 50), key: madeUpKey(`svc-${serial % 7}`), input_tokens, output_tokens }))
      expected.requests += 1
      expected.input_tokens += input_tokens
      expected.output_tokens += output_tokens
    }
    if (incident) {
      expected.incidents += 1
      const key = madeUpKey(`stolen-${expected.incidents}`)
      for (let n = 0; n < 60; n++) {
        lines.push(refusedLine({ id: `${(serial += 1)}`, at: now - (60 - n) * 200, key, n, ip: `185.220.101.${expected.incidents}` }))
        expected.requests += 1
      }
    }
    appendFileSync(log_file, `${lines.join('\n')}\n`)
  }

  const start = (room: Room, crash_at?: CrashPoint): Running => {
    const process = runTokenwatch(['start', '--role', ROLES[room].roles, '--config', config], { env: crash_at === undefined ? {} : { TOKENWATCH_CRASH_AT: crash_at } })
    running.set(room, process)
    return process
  }

  /** The entities that the detector must name. */
  const stolenKeys = (): string[] =>
    Array.from({ length: expected.incidents }, (_, n) => `key:${fingerprint(madeUpKey(`stolen-${n + 1}`), hashKey({}, path.join(directory, 'data')))}`)

  const ask = async (sql: string): Promise<string> => {
    const answer = await fetch(`${front.url}/?output_format_json_quote_64bit_integers=1`, { method: 'POST', body: sql })
    const text = await answer.text()
    if (!answer.ok) throw new Error(text)
    return text
  }

  beforeAll(async () => {
    const { brokers } = await ensureKafka()
    front = await startClickHouseFront({ directory: path.join(directory, 'clickhouse') })
    smtp = await startSmtp()
    mkdirSync(path.dirname(log_file), { recursive: true })
    writeFileSync(log_file, '')
    writeFileSync(
      config,
      JSON.stringify({
        data_dir: path.join(directory, 'data'),
        bus: { kind: 'kafka', brokers, topics: { prefix: `t${process.pid}.`, replication: 1, min_insync_replicas: 1 }, session_timeout: '6s' },
        store: { kind: 'clickhouse', url: front.url },
        sources: [{ id: 'app', kind: 'file', paths: [log_file], follow: true }],
        detectors: { snapshot_interval: '2s' },
        alerts: {
          sinks: { mail: { kind: 'email', host: '127.0.0.1', port: smtp.port, tls: 'none', from: 'tokenwatch@example.com', to: ['soc@example.com'] } },
          delivery: { retries: ['1s', '2s', '5s'] },
        },
      }),
    )
  }, 180_000)

  afterAll(async () => {
    await Promise.all([...running.values()].map((process) => process.stop('SIGKILL')))
    await front?.stop()
    await smtp?.close()
  })

  it('loses and doubles nothing under kill -9 at every crash point', { timeout: 600_000 }, async ({ onTestFailed }) => {
    onTestFailed(() => {
      console.error(findings)
      for (const [room, process] of running) console.error(`--- ${room}\n${process.output().slice(-3000)}`)
    })
    const alerts = `SELECT alert_id, entity FROM tokenwatch.alerts WHERE detector = 'invalid-request-burst' AND NOT backfill ORDER BY alert_id FORMAT JSONEachRow`
    const rows = async () => linesOf(await ask(alerts)).map((line) => JSON.parse(line) as { alert_id: string; entity: string })
    for (const room of Object.keys(ROLES) as Room[]) start(room)
    write(400, true)
    await eventually('the first mail', () => smtp.mails.length > 0, PATIENCE_MS)

    const stop_feeding = new AbortController()
    const feeding = (async () => {
      while (!stop_feeding.signal.aborted) {
        write(40, false)
        await systemClock.sleep(500, stop_feeding.signal)
      }
    })()
    await Promise.all(
      (Object.keys(ROLES) as Room[]).map(async (room) => {
        for (const point of ROLES[room].crashes) {
          await running.get(room)?.stop()
          const process = start(room, point)
          // Only an incident brings work to the alert room; ordinary lines feed the others.
          const poke = new AbortController()
          const poking = (async () => {
            while (!poke.signal.aborted) {
              if (room === 'detect') write(5, true)
              await systemClock.sleep(6_000, poke.signal)
            }
          })()
          const end = await Promise.race([process.exited, systemClock.sleep(PATIENCE_MS).then(() => 'did not crash')])
          poke.abort()
          await poking
          expect(`${point}: ${end}`, process.output().slice(-2000)).toBe(`${point}: SIGKILL`)
          crashed.push(point)
          start(room)
        }
      }),
    )
    stop_feeding.abort()
    await feeding
    // People hear of an alert from the bus, whether or not the store has its row yet: without the store no mail is missing.
    await running.get('store')?.stop('SIGKILL')
    write(25, true)
    write(25, true)
    await eventually('the mails of what the store has not seen', () => new Set(told(smtp)).size >= expected.incidents, PATIENCE_MS)
    expect((await rows()).length).toBeLessThanOrEqual(expected.incidents - 2)
    start('store')
    write(50, false)

    const totals = `SELECT count() AS requests, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens FROM tokenwatch.usage FORMAT JSONEachRow`
    const daily = 'SELECT sum(requests) AS requests, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens FROM tokenwatch.spend_daily FORMAT JSONEachRow'
    const wanted = { requests: expected.requests, input_tokens: expected.input_tokens, output_tokens: expected.output_tokens }
    const asNumbers = (text: string) => Object.fromEntries(Object.entries(JSON.parse(text) as Record<string, string>).map(([name, value]) => [name, Number(value)]))
    await eventually('all events in the store', async () => asNumbers(await ask(totals))['requests'] === expected.requests, PATIENCE_MS).catch(() => {})
    expect(asNumbers(await ask(totals))).toEqual(wanted)
    await eventually('all events in the rollup', async () => asNumbers(await ask(daily))['requests'] === expected.requests, PATIENCE_MS).catch(() => {})
    expect(asNumbers(await ask(daily))).toEqual(wanted)

    const export_sql =
      'SELECT day, provider, model, sum(requests) AS requests, sum(input_tokens) AS i, sum(output_tokens) AS o, sum(cost_usd) AS cost_usd, sum(list_cost_usd) AS list FROM spend_daily GROUP BY ALL ORDER BY ALL'
    const undisturbed = await runToEnd(['ingest', log_file, '--json', '--data-dir', path.join(directory, 'embedded')], { cwd: directory })
    expect(undisturbed.code, undisturbed.stderr).toBe(0)
    const embedded = await runToEnd(['query', export_sql, '--format', 'CSV', '--data-dir', path.join(directory, 'embedded')], { cwd: directory })
    expect(await ask(`${export_sql.replace('spend_daily', 'tokenwatch.spend_daily')} FORMAT CSV`)).toBe(embedded.stdout)

    findings = await ask('SELECT entity, severity, reason, backfill, run_id, state FROM tokenwatch.findings ORDER BY entity FORMAT TSV')
    await eventually('a mail for each incident', () => new Set(told(smtp)).size >= expected.incidents, PATIENCE_MS)
    await eventually('each alert in the store', async () => (await rows()).length >= expected.incidents, PATIENCE_MS)
    // One alert for each stolen key, one mail for each alert, and no other.
    const stored = await rows()
    expect(stored.map(({ entity }) => entity).toSorted()).toEqual(stolenKeys().toSorted())
    expect(crashed.toSorted()).toEqual(
      Object.values(ROLES)
        .flatMap(({ crashes }) => crashes)
        .toSorted(),
    )
    // After a crash between the server's yes and our record nobody can know: that one may come twice, with the same Message-ID.
    const ids = told(smtp)
    expect([...new Set(ids)].toSorted()).toEqual(stored.map(({ alert_id }) => `<${nameUuid(alert_id, 'firing', '')}@example.com>`).toSorted())
    expect(ids.length - new Set(ids).size).toBeLessThanOrEqual(1)
  })
})

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '')
const told = (smtp: SmtpReceiver): string[] => smtp.mails.map(({ mail }) => mail.messageId ?? '')
