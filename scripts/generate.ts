/** Writes what is derived from the code: docs/reference.md, docs/schemas/*.json and the config's JSON Schema. `--check` only compares. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { referenceFiles } from './reference.ts'

export function staleFiles(): string[] {
  return [...referenceFiles()].filter(([file, text]) => read(file) !== text).map(([file]) => file)
}

if (import.meta.main) {
  for (const [file, text] of referenceFiles()) {
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
  process.stdout.write(`${referenceFiles().size} files written\n`)
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
