// Runs every test and ends with one line that people and CI read: "N passed, N failed, N skipped". Anything that could not
// run here is said loudly just before it; with CI=true a missing tool is a failure instead (see needs.ts).
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'

const RESULTS = '.cache/test-results.json'
const SKIPS = '.cache/skips'
mkdirSync('.cache', { recursive: true })
rmSync(SKIPS, { recursive: true, force: true })
rmSync(RESULTS, { force: true })

const vitest = spawnSync(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${RESULTS}`, ...process.argv.slice(2)],
  { stdio: 'inherit' },
)

for (const line of skipReasons()) console.log(`\n*** NOT RUN: ${line}`)
const totals = readTotals()
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
process.exit(vitest.status === 0 && totals.failed === 0 && totals.passed > 0 ? 0 : 1)

function skipReasons() {
  try {
    const lines = readdirSync(SKIPS).flatMap((file) => readFileSync(`${SKIPS}/${file}`, 'utf8').trim().split('\n'))
    return [...new Set(lines)].filter((line) => line !== '')
  } catch {
    return []
  }
}

function readTotals() {
  try {
    const results = JSON.parse(readFileSync(RESULTS, 'utf8'))
    const brokenFiles = results.testResults.filter((file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed')).length
    return { passed: results.numPassedTests, failed: results.numFailedTests + brokenFiles, skipped: results.numPendingTests + (results.numTodoTests ?? 0) }
  } catch (error) {
    console.error(`no test results: ${error.message}`)
    return { passed: 0, failed: 1, skipped: 0 }
  }
}
