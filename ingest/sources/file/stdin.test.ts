import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'

const script = (wanted: boolean): string => `
  import { fstatSync, readFileSync } from 'node:fs'
  import { claimInput, standardInput } from ${JSON.stringify(new URL('./stdin.ts', import.meta.url).href)}
  claimInput(${wanted})
  const behind = readFileSync(0, 'utf8')
  let text = ''
  if (${wanted}) for await (const chunk of standardInput()) text += chunk
  console.log(JSON.stringify({ behind, bytes: text.length, begin: text.slice(0, 5) }))
  process.exit(0)
`
const args = (wanted: boolean): string[] => ['--input-type=module', '-e', script(wanted)]

describe('standard input', () => {
  it('is read whole while descriptor 0 is empty', () => {
    const { stdout } = spawnSync(process.execPath, args(true), { input: 'hello'.repeat(200_000), encoding: 'utf8' })
    expect(JSON.parse(stdout)).toEqual({ behind: '', bytes: 1_000_000, begin: 'hello' })
  })
  it.each([
    ['a pipe of a shell', 'printf hello | "$0" "$@"', 5],
    ['a file', 'exec "$0" "$@" < /etc/hostname', null],
    ['nothing', 'exec "$0" "$@" < /dev/null', 0],
  ])('is read from %s', (_name, command, bytes) => {
    const { stdout } = spawnSync('sh', ['-c', command, process.execPath, ...args(true)], { encoding: 'utf8' })
    const result = JSON.parse(stdout) as { behind: string; bytes: number }
    expect(result.behind).toBe('')
    if (bytes === null) expect(result.bytes).toBeGreaterThan(0)
    else expect(result.bytes).toBe(bytes)
  })
  it('is left alone where nobody wants it, also when it never ends', async () => {
    const child = spawn(process.execPath, args(false), { stdio: ['pipe', 'pipe', 'inherit'] })
    let stdout = ''
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    child.stdin.write('data for nobody')
    const [code] = (await once(child, 'close')) as [number]
    expect([code, JSON.parse(stdout)]).toEqual([0, { behind: '', bytes: 0, begin: '' }])
  })
})
