import { defineConfig } from 'vitest/config'

// Tests that start real servers (Kafka, moto, whole pipelines). `npm test` runs both projects, `npm run check` the first only.
const REAL = ['test/e2e/**/*.test.ts', 'test/contract/*kafka*.test.ts']
const ELSEWHERE = ['node_modules/**', 'dist/**', '.cache/**']

// The embedded engine is owned by one thread of one process: worker threads end in a crash, forks do not.
const shared = { pool: 'forks' as const, testTimeout: 60_000, hookTimeout: 120_000 }

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { ...shared, name: 'unit', include: ['**/*.test.ts'], exclude: [...ELSEWHERE, ...REAL] } },
      { test: { ...shared, name: 'real', include: REAL, exclude: ELSEWHERE } },
    ],
  },
})
