/** SIGHUP on a running installation: new prices and owners take effect without a restart, a broken file changes nothing. */
import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { eventually, type Running, runToEnd, runTokenwatch } from '../support/process.ts'
import { chatLine, madeUpKey } from './log-lines.ts'

describe('SIGHUP', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-reload-'))
  const log_file = path.join(directory, 'app.jsonl')
  const config = path.join(directory, 'tokenwatch.yaml')
  const owners = path.join(directory, 'owners.csv')
  const at = Date.parse('2026-03-02T10:00:00Z')
  let running: Running | undefined
  afterAll(() => running?.stop('SIGKILL'))

  const writeConfig = (price: string, more: object = {}) =>
    writeFileSync(
      config,
      JSON.stringify({
        data_dir: path.join(directory, 'data'),
        sources: [{ id: 'app', kind: 'file', paths: [log_file], follow: true }],
        console: { listen: '127.0.0.1:0' },
        attribution: { csv: owners },
        prices: { list: [{ provider: 'openai', models: ['house-model'], prices: [{ tier: 'default', usd: { in_uncached: price, out_text: price } }] }] },
        ...more,
      }),
    )
  const call = (id: string) => appendFileSync(log_file, `${chatLine({ id, at, key: madeUpKey('svc'), model: 'house-model', input_tokens: 900, output_tokens: 100 })}\n`)
  const said = (text: string) => () => running?.output().includes(text) ?? false
  const rows = async (sql: string): Promise<string> => (await runToEnd(['query', sql, '--config', config, '--format', 'TSV'])).stdout.trim()

  it('reads prices and owners again, and keeps the old ones when the new are wrong', { timeout: 240_000 }, async ({ onTestFailed }) => {
    onTestFailed(() => console.error(running?.output().slice(-4000)))
    writeFileSync(log_file, '')
    writeFileSync(owners, 'owner,team\n')
    writeConfig('0.001')
    running = runTokenwatch(['start', '--config', config])
    await eventually('the start', said('"running"'))
    call('r1')
    const spend = 'SELECT team_id, requests, cost_usd FROM spend_daily'
    await eventually('the first call', async () => (await rows(spend)) === 'unattributed\t1\t1')

    const owner_ref = await rows('SELECT any(owner_ref) FROM usage')
    writeFileSync(owners, `owner,team\n${owner_ref},search\n`)
    writeConfig('0.002')
    running.child.kill('SIGHUP')
    await eventually('the reload', said('prices and owners were read again'))
    await eventually('old spend at new prices, under the new owner', async () => (await rows(spend)) === 'search\t1\t2')
    expect(said('need a restart')()).toBe(false)
    call('r2')
    await eventually('the second call', async () => (await rows(spend)) === 'search\t2\t4')
    expect(await rows("SELECT cost_usd, ifNull(team_id, 'nobody') FROM usage ORDER BY cost_usd")).toBe('1\tnobody\n2\tsearch')

    writeFileSync(owners, `owner,team\n${owner_ref},\n`)
    running.child.kill('SIGHUP')
    await eventually('the refusal', said('the old ones stay'))
    writeFileSync(owners, `owner,team\n${owner_ref},search\n`)
    writeConfig('0.002', { log: { level: 'debug' } })
    running.child.kill('SIGHUP')
    await eventually('the word about the rest', said('need a restart'))
    expect(await rows(spend)).toBe('search\t2\t4')
    expect(await running.stop()).toBe(0)
  })
})
