import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type LockEntry, missingEntries } from '../../scripts/fill-lock.ts'

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, LockEntry> }
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: Record<string, string>; allowScripts: Record<string, boolean> }

describe('the package', () => {
  it('has a lockfile that npm ci accepts on every platform', () => {
    expect(missingEntries(lock.packages)).toEqual({})
  })

  it('has install scripts only where they are allowed', () => {
    const scripts = Object.entries(lock.packages)
      .filter(([, entry]) => entry.hasInstallScript)
      .map(([at]) => at.replace('node_modules/', ''))
    expect(scripts.filter((name) => !manifest.allowScripts[name] && name !== 'fsevents')).toEqual([])
  })

  it('stays at 25 direct dependencies or fewer', () => {
    expect(Object.keys(manifest.dependencies).length).toBeLessThanOrEqual(25)
  })

  it('runs on Node 24', () => {
    expect(Number(process.versions.node.split('.')[0])).toBeGreaterThanOrEqual(24)
  })
})
