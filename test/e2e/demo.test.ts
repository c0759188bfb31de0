/** The demo as a newcomer starts it where things are in the way: its port is taken, it runs already, another seed was there. */
import { existsSync, mkdtempSync, readFileSync, renameSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { eventually, runToEnd, runTokenwatch, type Running } from '../support/process.ts'

const DEMO_PORT = 8787

describe('the demo', { timeout: 120_000 }, () => {
  const data_dir = mkdtempSync(path.join(tmpdir(), 'tokenwatch-demo-'))
  const demo = (...args: string[]) => ['demo', '--days', '1', '--no-incidents', '--data-dir', data_dir, ...args]
  const taken = createServer()
  let running: Running | undefined
  afterAll(async () => {
    taken.close()
    await running?.stop('SIGKILL')
  })

  it('starts although its port is taken, refuses a second owner before a line is written, and drains on Ctrl-C', async () => {
    // Where somebody has the port already, that is as good.
    await new Promise<void>((resolve) => taken.once('error', () => resolve()).listen(DEMO_PORT, '127.0.0.1', resolve))
    running = runTokenwatch(demo())
    await eventually('live traffic', () => running?.output().includes('live traffic flows now') === true, 100_000)
    const said = running.output()
    expect(said).toContain(`cannot listen on 127.0.0.1:${DEMO_PORT}, so the status page gets a free port`)
    const { url, pid } = JSON.parse(readFileSync(path.join(data_dir, 'run.json'), 'utf8')) as { url: string; pid: number }
    expect(said).toContain(`status page: ${url}`)
    expect(await (await fetch(`${url}/readyz`)).json()).toMatchObject({ ready: true })
    expect(said).toMatch(/^platform .* \$\d+\.\d\d$/m)

    const second = await runToEnd(demo())
    expect(second).toMatchObject({ code: 1, stdout: '' })
    expect(second.stderr).toContain(`pid ${pid}, ${url}`)
    expect(second.stderr).not.toContain('DB::Exception')
    expect(await runToEnd(demo('--seed', '2'))).toMatchObject({ code: 2, stderr: expect.stringContaining('--seed 1') as string })

    expect(await running.stop('SIGINT')).toBe(0)
    expect(running.output()).toContain('stopped; everything is kept')
    expect(existsSync(path.join(data_dir, 'run.json'))).toBe(false)
    expect(await runToEnd(['alerts', 'list', '--all', '--json', '--data-dir', data_dir])).toMatchObject({ code: 0, stdout: '[]\n' })
  })

  it('goes on after its folder was moved', async () => {
    const moved = `${data_dir}-moved`
    renameSync(data_dir, moved)
    running = runTokenwatch(['demo', '--days', '1', '--no-incidents', '--data-dir', moved])
    await eventually('live traffic', () => running?.output().includes('live traffic flows now') === true, 100_000)
    expect(await running.stop('SIGINT')).toBe(0)
  })
})
