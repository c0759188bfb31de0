/**
 * Kafka or ClickHouse away while a whole installation runs: it waits, says so once, goes on when it is back, loses nothing.
 */
import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { type ClickHouseFront, startClickHouseFront } from '../support/clickhouse-front/index.ts'
import { startKafka, type TestKafka } from '../support/kafka/kafka.ts'
import { needs } from '../support/needs.ts'
import { eventually, runTokenwatch, type Running } from '../support/process.ts'
import { chatLine, madeUpKey } from './log-lines.ts'

describe.skipIf(!needs('kafka'))('outages', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-outages-'))
  const log_file = path.join(directory, 'app.jsonl')
  let kafka: TestKafka | undefined
  let front: ClickHouseFront | undefined
  let running: Running | undefined
  let written = 0

  const write = (lines: number) => {
    appendFileSync(
      log_file,
      Array.from({ length: lines }, () => `${chatLine({ id: `o${(written += 1)}`, at: systemClock.now(), key: madeUpKey(`svc-${written % 5}`) })}\n`).join(''),
    )
  }
  const stored = async (): Promise<number> => {
    const answer = await fetch(`${front?.url}/`, { method: 'POST', body: 'SELECT count() FROM tokenwatch.usage FORMAT TSV' }).catch(() => undefined)
    return answer?.ok ? Number(await answer.text()) : -1
  }
  const said = (text: string): number =>
    running
      ?.output()
      .split('\n')
      .filter((line) => line.includes(text)).length ?? 0

  afterAll(async () => {
    await running?.stop('SIGKILL')
    await front?.stop()
    await kafka?.remove()
  })

  it('are waited for, named once, and cost nothing', { timeout: 480_000 }, async ({ onTestFailed }) => {
    onTestFailed(() => console.error(running?.output().slice(-4000)))
    kafka = await startKafka()
    front = await startClickHouseFront({ directory: path.join(directory, 'clickhouse') })
    writeFileSync(log_file, '')
    const config = path.join(directory, 'outages.yaml')
    writeFileSync(
      config,
      JSON.stringify({
        data_dir: path.join(directory, 'data'),
        bus: { kind: 'kafka', brokers: kafka.brokers, topics: { replication: 1, min_insync_replicas: 1 }, session_timeout: '6s' },
        store: { kind: 'clickhouse', url: front.url },
        sources: [{ id: 'app', kind: 'file', paths: [log_file], follow: true }],
        console: { listen: '127.0.0.1:0' },
      }),
    )
    running = runTokenwatch(['start', '--config', config])
    write(200)
    await eventually('the first lines', async () => (await stored()) === written, 120_000)

    await front.kill()
    write(300)
    await systemClock.sleep(4_000)
    await front.restart()
    await eventually('all lines after ClickHouse is back', async () => (await stored()) === written, 120_000)

    await kafka.stop()
    write(300)
    await systemClock.sleep(4_000)
    await kafka.start()
    await eventually('all lines after Kafka is back', async () => (await stored()) === written, 120_000)
    expect(said('waiting for Kafka')).toBeGreaterThanOrEqual(1)
    expect(said('waiting for')).toBeLessThanOrEqual(12)

    const waits = said('waiting for the store')
    write(100)
    await eventually('ordinary work again', async () => (await stored()) === written, 120_000)

    await front.kill()
    write(100)
    await eventually('the wait for ClickHouse', () => said('waiting for the store') > waits)
    expect(await running.stop(), 'a stop is no failure because the store is away').toBe(0)
    await front.restart()
    running = runTokenwatch(['start', '--config', config])
    await eventually('the lines from before the stop', async () => (await stored()) === written, 120_000)
    expect(await running.stop()).toBe(0)
  })
})
