import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readRunFile, writeRunFile } from './owner.ts'

const directory = () => mkdtempSync(join(tmpdir(), 'owner-'))
const own = { pid: process.pid, url: 'http://127.0.0.1:8787', token: 'secret' }

describe('run.json', () => {
  it('is private, read back while the process lives, and removed', () => {
    const at = directory()
    expect(readRunFile(at)).toBeUndefined()
    const remove = writeRunFile(at, own)
    expect(statSync(join(at, 'run.json')).mode & 0o777).toBe(0o600)
    expect(readRunFile(at)).toMatchObject(own)
    remove()
    expect(readRunFile(at)).toBeUndefined()
  })

  it('does not count when its process is gone, also when another process got the pid', () => {
    const at = directory()
    const gone = spawnSync(process.execPath, ['-e', '']).pid
    writeFileSync(join(at, 'run.json'), JSON.stringify({ ...own, pid: gone }))
    expect(readRunFile(at)).toBeUndefined()
    writeRunFile(at, own)()
    writeFileSync(join(at, 'run.json'), JSON.stringify({ ...own, started: '1' }))
    expect(readRunFile(at)).toBeUndefined()
  })

  it('is nothing when it is broken, and the removal leaves the file of a later owner alone', () => {
    const at = directory()
    writeFileSync(join(at, 'run.json'), '{')
    expect(readRunFile(at)).toBeUndefined()
    const remove = writeRunFile(at, own)
    writeFileSync(join(at, 'run.json'), JSON.stringify({ ...own, pid: 1 }))
    remove()
    expect(readFileSync(join(at, 'run.json'), 'utf8')).toContain('"pid":1')
  })
})
