'use strict';
// Shows /api/status and the chosen job's /api/metrics. Text of the run reaches the page as text only, never as HTML.

const kPeriod = 2000;         // milliseconds between two requests
const kCurvePeriod = 6000;    // likewise of the curves
const kTimeout = 8000;
const kRows = 256;            // of the table of ranks, those that are not well first
const state = {status: null, chosen: null, curve: null, curveAt: 0, lastHeard: null, failures: 0};
const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Numbers for people; the exact ones are in the elements' titles.
function short(value, digits = 5) {
  if (value === null || value === undefined) return 'nan';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e5) return count(value);
  return size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}
function count(value) {
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'B'], [1e6, 'M'], [1e3, 'K']]) {
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(3)) + unit;
  }
  return String(Number(value.toPrecision(3)));
}
function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
function memory(gib) { return gib < 1 ? `${short(1024 * gib, 3)} MiB` : `${short(gib, 3)} GiB`; }
function exact(last, key) {
  if (!last) return '';
  const value = last[key];
  return value === null || value === undefined ? (last[key + '_nonfinite'] || '') : String(value);
}

// --- charts ---

function svg(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((s) => s * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; ++i) found.push(Number((i * step).toPrecision(12)));
  return found;
}
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); ++e) {
    for (const m of decades > 4 ? [1] : [1, 2, 5]) {
      const tick = Number(`${m}e${e}`);
      if (tick >= low && tick <= high) found.push(tick);
    }
  }
  return found.length >= 2 ? found : ticks(low, high, 4);
}

function smoothed(points) {
  const keep = 1 - 1 / Math.max(1, points.length / 100);
  let sum = 0, weight = 0;
  return points.map(([x, y]) => {
    if (y === null) return [x, y];
    sum = keep * sum + y;
    weight = keep * weight + 1;
    return [x, sum / weight];
  });
}

function path(points, x, y) {
  let text = '', pen = 'M';
  for (const [px, py] of points) {
    if (py === null) { pen = 'M'; continue; }
    text += `${pen}${x(px).toFixed(1)} ${y(py).toFixed(1)}`;
    pen = 'L';
  }
  return text;
}

// points: [step, value or null] in order; dots likewise, of a second, sparse measure.
function drawChart(box, points, {dots = [], log = false, zero = false, smooth = true, label}) {
  const width = Math.max(260, box.clientWidth), height = 220, left = 52, right = 10, top = 12, bottom = 26;
  const picture = svg('svg', {viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': label});
  const values = points.concat(dots).map((p) => p[1]).filter((v) => v !== null);
  if (values.length === 0) {
    picture.append(svg('text', {x: width / 2, y: height / 2, 'text-anchor': 'middle'}, 'nothing yet'));
    return box.replaceChildren(picture);
  }
  let low = Math.min(...values), high = Math.max(...values);
  const logarithmic = log && low > 0 && high / low > 20;
  if (!logarithmic) {
    if (zero) low = Math.min(0, low);
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    high += room;
    if (!zero || low < 0) low -= room;
  }
  const first = points.length ? points[0][0] : dots[0][0];
  const last = Math.max(points.length ? points[points.length - 1][0] : first, first + 1);
  const level = logarithmic ? Math.log : (v) => v;
  const x = (step) => left + (step - first) / (last - first) * (width - left - right);
  const y = (v) => top + (level(high) - level(v)) / (level(high) - level(low)) * (height - top - bottom);
  for (const tick of logarithmic ? logTicks(low, high) : ticks(low, high, 4)) {
    picture.append(svg('line', {class: 'grid', x1: left, x2: width - right, y1: y(tick), y2: y(tick)}));
    picture.append(svg('text', {x: left - 8, y: y(tick) + 4, 'text-anchor': 'end'}, short(tick, 4)));
  }
  for (const tick of ticks(first, last, width < 400 ? 3 : 5)) {
    if (Number.isInteger(tick)) picture.append(svg('text', {x: x(tick), y: height - 6, 'text-anchor': 'middle'}, count(tick)));
  }
  picture.append(svg('line', {class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}));
  const many = smooth && points.length > 100;
  if (many) picture.append(svg('path', {class: 'faint', d: path(points, x, y)}));
  picture.append(svg('path', {class: 'curve', d: path(many ? smoothed(points) : points, x, y)}));
  for (const [px, py] of dots) if (py !== null) picture.append(svg('circle', {class: 'dot', cx: x(px), cy: y(py), r: 3.5}));
  addCrosshair(picture, points, {x, y, width, top, bottom: height - bottom});
  box.replaceChildren(picture);
}

function addCrosshair(picture, points, {x, y, width, top, bottom}) {
  const line = svg('line', {class: 'cross', y1: top, y2: bottom, visibility: 'hidden'});
  const text = svg('text', {class: 'value', y: top + 2, visibility: 'hidden'});
  picture.append(line, text);
  const hide = () => { for (const part of [line, text]) part.setAttribute('visibility', 'hidden'); };
  picture.addEventListener('pointerleave', hide);
  picture.addEventListener('pointermove', (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    let best = null;
    for (const point of points) if (!best || Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at)) best = point;
    if (!best) return hide();
    const px = x(best[0]);
    for (const end of ['x1', 'x2']) line.setAttribute(end, px);
    text.setAttribute('x', px + (px > width / 2 ? -6 : 6));
    text.setAttribute('text-anchor', px > width / 2 ? 'end' : 'start');
    text.textContent = `step ${best[0]}: ${short(best[1], 6)}`;
    for (const part of [line, text]) part.setAttribute('visibility', 'visible');
  });
}

function showCurves() {
  const curve = state.curve;
  $('curves').hidden = !curve;
  if (!curve) return;
  const column = (name) => {
    const i = curve.columns.indexOf(name);
    return curve.points.map((p) => [p[0], p[i]]);
  };
  $('curves_job').textContent = curve.job;
  $('curves_note').textContent = curve.complete ? '' : 'still reading its steps';
  $('loss_key').textContent = curve.validation.length ? 'dots: validation' : '';
  drawChart($('loss_chart'), column('loss'), {dots: curve.validation, log: true, label: 'loss by step'});
  drawChart($('rate_chart'), column('tokens_per_s'), {zero: true, label: 'tokens a second by step'});
  drawChart($('norm_chart'), column('grad_norm'), {log: true, label: 'gradient norm by step'});
  drawChart($('lr_chart'), column('lr'), {zero: true, smooth: false, label: 'learning rate by step'});
}

// --- the status ---

function bar(fraction) {
  const inner = element('div');
  inner.style.width = `${100 * Math.min(1, fraction)}%`;
  return element('div', {class: 'bar'}, inner);
}

function tile(name, number, more, title = '', progress = null) {
  const made = element('div', {class: 'card tile'}, element('div', {class: 'name'}, name),
                       element('div', {class: 'number', title}, number), element('div', {class: 'more'}, more));
  if (progress !== null) made.append(bar(progress));
  return made;
}

// The job that the page follows: the reader's choice, else the one that runs, else the last that did.
function followed(status) {
  const training = status.jobs.filter((job) => job.steps > 0);
  return training.find((job) => job.name === state.chosen) ||
      training.filter((job) => job.state === 'running').pop() || training.filter((job) => job.step > 0).pop() || training[0];
}

function showTiles(job) {
  const tiles = [];
  if (job) {
    const last = job.last, validation = job.last_validation;
    tiles.push(tile(`${job.name}: loss`, last ? short(last.loss, 6) : '–',
                    validation ? `validation ${short(validation.validation_loss, 6)} at step ${validation.step}`
                               : last ? `gradient norm ${short(last.grad_norm, 4)}` : job.kind, exact(last, 'loss')));
    tiles.push(tile('tokens a second', last ? count(last.tokens_per_s) : '–',
                    last ? `${short(last.step_ms / 1000, 3)} s a step` : '', exact(last, 'tokens_per_s')));
    if (last && last.mfu > 0)
      tiles.push(tile('MFU', `${(100 * last.mfu).toFixed(1)}%`, `${memory(last.memory_gib)} a rank at most`, exact(last, 'mfu')));
    const left = job.seconds_left;
    tiles.push(tile('steps', `${job.step} of ${job.steps}`,
                    job.state !== 'running' ? job.state : left === null ? 'starting' : `${duration(left)} left`, '', job.step / job.steps));
  }
  $('tiles').replaceChildren(...tiles);
}

function stateChip(job) {
  const look = {running: ' busy', done: ' good', failed: ' bad'}[job.state] || '';
  return element('span', {class: 'state' + look, title: job.reason}, job.state);
}

function jobRow(job, chosen) {
  const cell = (text, title = '') => element('td', {title}, text);
  const name = element('td', {});
  if (job.steps > 0) {
    const button = element('button', {type: 'button'}, job.name);
    button.addEventListener('click', () => { state.chosen = job.name; state.curveAt = 0; poll(); });
    name.append(button);
  } else {
    name.append(job.name);
  }
  name.append(' ', element('small', {}, job.kind === job.name ? '' : job.kind));
  const row = element('tr', chosen ? {class: 'chosen'} : {}, name, element('td', {}, stateChip(job)));
  if (job.state === 'failed' || (job.state === 'skipped' && job.reason)) {
    row.append(element('td', {class: 'reason', colspan: 5}, job.reason));
    return row;
  }
  const steps = element('td', {});
  if (job.steps > 0) steps.append(`${job.step} / ${job.steps}`, bar(job.step / job.steps));
  const last = job.last, validation = job.last_validation;
  row.append(steps, cell(last ? short(last.loss, 6) : '', exact(last, 'loss')),
             cell(validation ? short(validation.validation_loss, 6) : '', exact(validation, 'validation_loss')),
             cell(last ? count(last.tokens_per_s) : '', exact(last, 'tokens_per_s')),
             cell(job.seconds_left === null ? '' : duration(job.seconds_left)));
  return row;
}

function rankRow(rank) {
  const look = {slow: ' late', silent: ' lost', gone: ' lost', failed: ' lost', ended: ' off'}[rank.state] || '';
  const light = element('span', {class: 'light' + look});
  const age = rank.seconds_since_heard, since = rank.phase_seconds;
  const phase = rank.phase + (since > 5 && rank.state !== 'ended' ? ` for ${duration(since)}` : '');
  const call = rank.waits_for ? `waits for ${rank.waits_for}` : rank.last_call;
  const cell = (text, title = '') => element('td', {title}, String(text));
  return element('tr', {}, element('td', {}, light, String(rank.rank)), cell(rank.state, rank.reason), cell(rank.host), cell(rank.pid),
                 cell(rank.job), cell(rank.step < 0 ? '' : rank.step), cell(phase), element('td', {class: 'call', title: rank.last_call}, call),
                 cell(age < 2 ? 'now' : `${duration(age)} ago`));
}

function isUnwell(rank) { return rank.state !== 'well' && rank.state !== 'ended'; }

// Names the ranks that are not well, and says how many have not been heard.
function ranksNote(status) {
  const unwell = status.ranks.filter(isUnwell);
  const parts = unwell.slice(0, 4).map((rank) => `rank ${rank.rank} is ${rank.state}: ${rank.reason}`);
  if (unwell.length > 4) parts.push(`and ${unwell.length - 4} more are not well`);
  const unheard = status.run.ranks - status.ranks.length;
  if (unheard > 0) parts.push(`${status.ranks.length} of ${status.run.ranks} have told how they are`);
  if (status.ranks.length > kRows) parts.push(`${kRows} are shown`);
  return parts.join('; ');
}

function showRanks(status) {
  const first = [...status.ranks.filter(isUnwell), ...status.ranks.filter((rank) => !isUnwell(rank))].slice(0, kRows);
  $('ranks').replaceChildren(...first.sort((a, b) => a.rank - b.rank).map(rankRow));
  $('ranks_note').textContent = ranksNote(status);
}

function fact(name, value) { return element('span', {}, name + ' ', element('b', {}, value)); }

function showStatus(status) {
  const run = status.run, job = followed(status);
  document.title = job ? `${run.name}: ${job.name} ${job.step}/${job.steps}` : run.name;
  $('name').textContent = run.name;
  $('facts').replaceChildren(fact('output', run.output), fact('ranks', run.ranks), fact('since', new Date(1000 * run.begun_at).toLocaleString()),
                             fact('for', duration(run.seconds)), fact('halo', run.version));
  showTiles(job);
  $('jobs').replaceChildren(...status.jobs.map((j) => jobRow(j, j === job)));
  showRanks(status);
}

function pill(text, look) {
  $('pill').textContent = text;
  $('pill').className = `pill ${look}`;
}
function banner(text, look = '') {
  $('banner').hidden = !text;
  $('banner').textContent = text;
  $('banner').className = `banner ${look}`;
}

function showState() {
  const status = state.status, lost = state.failures > 0;
  document.body.className = lost ? 'stale' : '';
  if (status && status.run.ended) {
    const complete = status.jobs.every((job) => job.state === 'done' || job.state === 'skipped');
    pill(complete ? 'done' : 'ended', complete ? 'good' : '');
    return banner(complete ? 'The run has ended: all jobs are done. These are its last numbers.'
                           : 'The run has ended before all jobs were done; the same command goes on from there.');
  }
  if (lost) {
    pill('no answer', 'bad');
    return banner('No answer from the run' + (state.lastHeard ? ` since ${state.lastHeard.toLocaleTimeString()}` : '') +
                  ': it has ended, or the connection is lost. Trying again.', 'bad');
  }
  if (!status) return;
  pill(status.health.ok ? 'running' : 'not getting on', status.health.ok ? 'busy' : 'bad');
  banner(status.health.ok ? '' : status.health.reason, 'bad');
}

// --- the loop ---

async function get(url) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), kTimeout);
  try {
    const answer = await fetch(url, {signal: stop.signal, cache: 'no-store'});
    if (answer.status === 401) location.reload();  // to the login
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}

async function readCurve(job, ended) {
  const due = !state.curve || state.curve.job !== job.name || !state.curve.complete || ended;
  if (!due && Date.now() - state.curveAt < kCurvePeriod) return;
  state.curve = await get(`/api/metrics?job=${encodeURIComponent(job.name)}&points=600`);
  state.curveAt = Date.now();
  showCurves();
}

let polling = false, timer = null;
async function poll() {
  if (polling) return;
  polling = true;
  clearTimeout(timer);
  try {
    state.status = await get('/api/status');
    state.failures = 0;
    state.lastHeard = new Date();
    showStatus(state.status);
    const job = followed(state.status);
    if (job) await readCurve(job, state.status.run.ended);
  } catch (error) {
    ++state.failures;
  }
  showState();
  polling = false;
  timer = setTimeout(poll, kPeriod);
}

addEventListener('resize', showCurves);
poll();
