/** What a test needs of the machine. A missing thing is said once, at the end of the run, and is an error where CI=true. */
import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { jarsDirectory } from './kafka/jars.ts'
import { installMoto } from './moto/moto.ts'

type Need = 'kafka' | 'moto' | 'field-data'

const ROOT = join(import.meta.dirname, '../..')
/** One line per skipped test file; the test runner prints the distinct lines last and removes the file. */
export const SKIPS = join(ROOT, '.cache/skips')

/** `elsewhere`: nobody can install it, so that it is missing is no failure of a pipeline. */
const NEEDS: Record<Need, { present: () => boolean; cure: string; elsewhere?: true }> = {
  kafka: {
    present: () => given('KAFKA_BROKERS') || (javaVersion() >= 17 && (existsSync(jarsDirectory()) || runs('mvn', ['-v']))),
    cure: 'install Java 17+ and Maven to run the Kafka tests',
  },
  moto: {
    present: () => given('MOTO_URL') || installMoto(),
    cure: 'install Python 3 with venv, and let pip reach PyPI once (or set MOTO_URL), to run the AWS tests',
  },
  'field-data': {
    present: () => existsSync(fieldData()),
    elsewhere: true,
    cure: 'set FIELD_DATA to a directory with field data to run the tests on real records',
  },
}

/** Directory of the field data; FIELD_DATA, else beside the repository. */
export const fieldData = (): string => process.env['FIELD_DATA'] ?? join(ROOT, '../shared/field-data')

const answers = new Map<Need, boolean>()

/**
 * True if it is there: `describe.skipIf(!needs('kafka', 34))`. `tests` is how many tests are skipped without it.
 * Throws under CI=true where it could be installed, so that a pipeline cannot be green by skipping.
 */
export function needs(need: Need, tests?: number): boolean {
  const known = answers.get(need)
  if (known !== undefined) return known
  const { present, cure, elsewhere = false } = NEEDS[need]
  const there = present()
  answers.set(need, there)
  if (there) return true
  const line = tests === undefined ? cure : cure.replace(' the ', ` ${tests} `)
  if (process.env['CI'] === 'true' && !elsewhere) throw new Error(`this test needs ${need}: ${line}`)
  mkdirSync(SKIPS, { recursive: true })
  appendFileSync(join(SKIPS, 'lines'), `${line}\n`)
  return false
}

const given = (name: string): boolean => (process.env[name] ?? '') !== ''

const runs = (command: string, args: readonly string[]): boolean => spawnSync(command, args, { stdio: 'ignore', timeout: 20_000 }).status === 0

function javaVersion(): number {
  const { status, stderr, stdout } = spawnSync('java', ['-version'], { encoding: 'utf8', timeout: 20_000 })
  return status === 0 ? Number(/version "(\d+)/.exec(stderr + stdout)?.[1] ?? 0) : 0
}
