/** The front door as a person or a script meets it: exit codes, every problem of a config at once, one owner of the embedded store. */
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { eventually, type Running, runToEnd, runTokenwatch } from '../support/process.ts'
import { chatLine, madeUpKey } from './log-lines.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-commands-'))
const write = (name: string, text: string) => {
  const file = path.join(directory, name)
  writeFileSync(file, text)
  return file
}

describe('wrong use', () => {
  it('lists every problem of a config with its path and ends with 2', async () => {
    const file = write('wrong.yaml', 'data_dri: x\nbus: {kind: kafka}\nresponses: {policy: aproove}\nalerts: {sinks: {mail: {kind: emial}}}\n')
    const { code, stderr } = await runToEnd(['check', '--config', file])
    expect(code).toBe(2)
    expect(stderr).toContain('did you mean "data_dir"')
    expect(stderr).toContain('bus.brokers')
    expect(stderr).toContain('responses.policy')
    expect(stderr).toContain('did you mean "approve"')
    expect(stderr).toContain('alerts.sinks.mail')
  })

  it('ends with 2 for an unknown command, role or option, and says what there is', async () => {
    expect(await runToEnd(['strat'])).toMatchObject({ code: 2, stderr: expect.stringContaining('start') as string })
    expect(await runToEnd(['start', '--role', 'collectt', '--config', write('empty.yaml', '')])).toMatchObject({ code: 2, stderr: expect.stringContaining('collect') as string })
    expect(await runToEnd(['query'])).toMatchObject({ code: 2 })
    expect(await runToEnd(['alerts', 'lst'])).toMatchObject({ code: 2, stderr: expect.stringContaining('list') as string })
    expect(await runToEnd(['responses'])).toMatchObject({ code: 2, stderr: expect.stringContaining('approve') as string })
  })

  it('says what to do about a folder that cannot be written', async () => {
    // Nobody, not even root, makes a folder there.
    const { code, stderr } = await runToEnd(['demo', '--data-dir', '/sys/tokenwatch'])
    expect(code).toBe(1)
    expect(stderr).toContain('--data-dir')
    expect(stderr).toContain('may not write')
  })

  it('neither makes nor reads an empty installation where none is', async () => {
    const cwd = mkdtempSync(path.join(tmpdir(), 'tokenwatch-nothing-'))
    for (const args of [
      ['alerts', 'list'],
      ['responses', 'list'],
      ['query', 'SELECT 1'],
      ['rejects', 'list'],
    ])
      expect(await runToEnd(args, { cwd }), args.join(' ')).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('no data in') as string })
    const checked = await runToEnd(['check', '--probe'], { cwd })
    expect(checked).toMatchObject({ code: 0, stdout: expect.stringContaining('not made yet') as string })
    expect(readdirSync(cwd)).toEqual([])
  })

  it('asks the demo that runs, also where an installation of its own stands still', async () => {
    const cwd = mkdtempSync(path.join(tmpdir(), 'tokenwatch-beside-'))
    mkdirSync(path.join(cwd, '.tokenwatch/store'), { recursive: true })
    mkdirSync(path.join(cwd, '.tokenwatch/demo/store'), { recursive: true })
    // A living process that does not answer: enough to see who is asked.
    writeFileSync(path.join(cwd, '.tokenwatch/demo/run.json'), JSON.stringify({ pid: process.pid, url: 'http://127.0.0.1:1', token: 'x' }))
    expect(await runToEnd(['query', 'SELECT 1'], { cwd })).toMatchObject({ code: 1, stderr: expect.stringContaining('http://127.0.0.1:1 does not answer') as string })
  })

  it('shows help with 0 on every command', async () => {
    for (const command of ['start', 'demo', 'ingest', 'check', 'query', 'alerts', 'responses', 'fingerprint', 'rejects']) {
      expect(await runToEnd([command, '--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage') as string })
    }
  })
})

describe('ingest -', () => {
  it('reads a short input that ends before the store is open', async () => {
    const data_dir = mkdtempSync(path.join(tmpdir(), 'tokenwatch-stdin-'))
    const stdin = `${chatLine({ id: 'in-1', at: systemClock.now(), key: madeUpKey('one') })}\n{"other": true}\n`
    const { code, stdout, stderr } = await runToEnd(['ingest', '-', '--json', '--data-dir', data_dir], { stdin })
    expect(code, stderr).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ records: 2, accepted: 1, skipped: { 'unknown-format': 1 }, events: { usage: 1 } })
  })
})

describe('an embedded installation', { timeout: 120_000 }, () => {
  const log_file = write('app.jsonl', '')
  const config = write(
    'tokenwatch.yaml',
    JSON.stringify({ data_dir: path.join(directory, 'data'), sources: [{ id: 'app', kind: 'file', paths: [log_file], follow: true }], console: { listen: '127.0.0.1:0' } }),
  )
  const run = (...args: string[]) => runToEnd([...args, '--config', config])
  let running: Running
  // Not while the tests are collected: a run of other tests alone would leave the process behind.
  beforeAll(() => {
    running = runTokenwatch(['start', '--config', config])
  })
  afterAll(() => running.stop('SIGKILL'))

  it('answers commands while it runs, drains on SIGTERM with 0, and goes on where it was', async () => {
    await eventually('the start', () => running.output().includes('"running"'))
    const line = (id: string) => `${chatLine({ id, at: systemClock.now(), key: madeUpKey('one') })}\n`
    appendFileSync(log_file, line('1') + line('2') + '{"response": {"id": "chatcmpl-cut\n')
    const countRows = async () => Number((await run('query', 'SELECT count() FROM usage', '--format', 'TSV')).stdout)
    await eventually('two events while it runs', async () => (await countRows()) === 2)
    expect((await run('alerts', 'list', '--json')).stdout.trim()).toBe('[]')
    await eventually('the cut line among the rejects', async () => (await run('rejects', 'list')).stdout.includes('invalid-json'))
    expect(await run('query', 'INSERT INTO usage_events (event_id) VALUES (1)')).toMatchObject({ code: 2 })
    expect((await run('check', '--probe')).stdout).toMatch(/ok +store \(embedded\): answers through the running tokenwatch/)

    const late = write('late.jsonl', line('3') + line('2'))
    const beside = await run('ingest', late, '--json')
    expect(beside.code, beside.stderr).toBe(0)
    expect(JSON.parse(beside.stdout)).toMatchObject({ records: 2, accepted: 2, duplicates: 1 })

    expect(await running.stop()).toBe(0)
    appendFileSync(log_file, line('4'))
    const again = runTokenwatch(['start', '--config', config])
    await eventually('the second start', () => again.output().includes('"running"'))
    await eventually('the new line, and the old ones once', async () => (await countRows()) === 4)
    expect(await again.stop()).toBe(0)
    expect(await countRows()).toBe(4)
    expect(await run('query', 'SELEC 1')).toMatchObject({ code: 2, stderr: expect.not.stringContaining('formatQuerySingleLine') as string })
    expect(await run('check', '--probe')).toMatchObject({ code: 0, stderr: '' })
  })

  it('ends quietly when the reader of a pipe has seen enough', async () => {
    const reading = runTokenwatch(['query', 'SELECT number FROM numbers(900000)', '--config', config])
    reading.child.stdout?.once('data', () => reading.child.stdout?.destroy())
    expect(await reading.exited).toBe(0)
    expect(reading.output()).not.toContain('EPIPE')
  })

  it('gives the id that stands for a key, the same that the store has', async () => {
    const { stdout } = await runToEnd(['fingerprint', '--config', config], { stdin: madeUpKey('one') })
    expect(stdout).toMatch(/^fp_[0-9a-f]{32}\n$/)
    expect((await run('query', 'SELECT DISTINCT api_key_id FROM usage', '--format', 'TSV')).stdout).toBe(stdout)
    const kept = readFileSync(path.join(directory, 'data', 'bus', 'bus.sqlite')).toString('latin1')
    expect(kept).not.toContain(madeUpKey('one'))
  })
})

describe('an embedded store without the console', { timeout: 60_000 }, () => {
  it('still answers the questions of other commands, because nobody else can open it', async () => {
    const config = write('store-only.yaml', JSON.stringify({ data_dir: path.join(directory, 'store-only') }))
    const running = runTokenwatch(['start', '--role', 'store', '--config', config])
    try {
      await eventually('the start', () => running.output().includes('"running"'), 30_000)
      expect(await runToEnd(['query', 'SELECT 1 AS one FORMAT JSONEachRow', '--config', config])).toMatchObject({ code: 0, stdout: '{"one":1}\n' })
    } finally {
      expect(await running.stop(), running.output()).toBe(0)
    }
  })
})
