// Five to twenty users over all endpoints. Run it against a server with these limits:
//
//   k6 run --no-usage-report load/k6.js
//   k6 run --no-usage-report -e URL=http://127.0.0.1:9000 -e SECONDS=60 -e CAPACITY=100 -e REFILL_RATE=5 load/k6.js
//
// It exits with 99 when no request is refused, when more is allowed than the limits permit, when a header is
// missing or wrong, or when a status other than 200 and 429 occurs.

import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const url = __ENV.URL || 'http://127.0.0.1:8000';
const seconds = Number(__ENV.SECONDS || 30);
const capacity = Number(__ENV.CAPACITY || 10);
const refillRate = Number(__ENV.REFILL_RATE || 1);

// The last responses may take that much longer.
const grace = 10;

export const options = {
    scenarios: {
        users: {
            executor: 'ramping-vus',
            startVUs: 5,
            stages: [
                { duration: `${seconds / 2}s`, target: 20 },
                { duration: `${seconds / 2}s`, target: 5 },
            ],
            gracefulRampDown: `${grace}s`,
            gracefulStop: `${grace}s`,
        },
    },
    thresholds: {
        allowed: ['count>0'],
        refused: ['count>0'],
        // All users share this machine's address, so one bucket bounds them: its capacity plus refill.
        tokens_spent: [`count<=${capacity + refillRate * (seconds + grace)}`],
        headers_missing: ['count==0'],
        unexpected_answers: ['count==0'],
    },
};

const allowed = new Counter('allowed');
const refused = new Counter('refused');
const tokensSpent = new Counter('tokens_spent');
const headersMissing = new Counter('headers_missing');
const unexpectedAnswers = new Counter('unexpected_answers');

const json = { headers: { 'Content-Type': 'application/json' } };
const requests = [
    { cost: 1, send: () => http.get(`${url}/`) },
    { cost: 1, send: () => http.get(`${url}/api/data`) },
    { cost: 1, send: () => http.post(`${url}/api/submit`, JSON.stringify({ user: __VU, turn: __ITER }), json) },
    { cost: 3, send: () => http.post(`${url}/api/upload`, 'x'.repeat(10000)) },
];

// Each response adds to every metric, with zero at least: a threshold on a metric without a sample is ignored.
export default function () {
    for (const { cost, send } of requests) {
        const answer = send();
        const isAllowed = answer.status === 200;
        const isRefused = answer.status === 429;
        allowed.add(isAllowed ? 1 : 0);
        refused.add(isRefused ? 1 : 0);
        tokensSpent.add(isAllowed ? cost : 0);
        unexpectedAnswers.add(isAllowed || isRefused ? 0 : 1);
        headersMissing.add(missing(answer, isRefused));
        sleep(0.05 + Math.random() / 10);
    }
}

// Number of required headers that are missing or not whole numbers.
function missing(answer, isRefused) {
    const names = ['X-Ratelimit-Limit', 'X-Ratelimit-Remaining', 'X-Ratelimit-Reset'];
    const bad = names.filter((name) => !/^\d+$/.test(answer.headers[name])).length;
    return bad + (isRefused && !/^[1-9]\d*$/.test(answer.headers['Retry-After']) ? 1 : 0);
}
