/** The checkout as data: tracked and new TypeScript files with their imports, for the tests that hold the house together. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

export interface SourceFile {
  file: string
  room: string
  text: string
  /** Paths of the repo for relative imports, package names for the others. */
  imports: string[]
}

const list = (): string[] =>
  execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts', '*.mjs', '*.js'], { encoding: 'utf8' })
    .split('\n')
    .filter((file) => file !== '' && existsSync(file))

export const sourceFiles: SourceFile[] = list().map((file) => {
  const text = readFileSync(file, 'utf8')
  const imports = [...text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s+['"]([^'"]+)['"]|(?:^|\n)\s*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)].map(
    (match) => {
      const target = match[1] ?? match[2] ?? match[3] ?? ''
      return target.startsWith('.') ? path.posix.normalize(path.posix.join(path.posix.dirname(file), target)) : target
    },
  )
  return { file, room: file.includes('/') ? (file.split('/')[0] ?? '') : file, text, imports }
})

export const isTest = (file: string): boolean => file.startsWith('test/') || file.endsWith('.test.ts') || file === 'vitest.config.ts'
