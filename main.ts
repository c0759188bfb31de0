/** The composition root: commands with their options, exit codes 0 done, 1 failed, 2 wrong use or wrong config. */
import { buildProgram } from './commands/index.ts'
import { runProgram } from './commands/program.ts'

await runProgram(buildProgram(), process.argv)
