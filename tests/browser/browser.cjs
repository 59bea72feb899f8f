// Drives a headless Chromium: a command a line on standard input, as JSON; an answer a line on standard output, `{"ok":…}`
// or `{"error":"…"}`. When standard input ends, so does the browser.
'use strict';
const readline = require('node:readline');
const axe = require('axe-core');
const puppeteer = require('puppeteer-core');

const [executablePath, userDataDir] = process.argv.slice(2);

// The page that is open, and what it did since it was.
let page, told, requests;

const commands = browser => ({
  async open({url, width, height, scheme}) {
    await page?.close();
    page = await browser.newPage();
    [told, requests] = [[], []];
    page.on('console', message => told.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', error => told.push(`thrown: ${error.message}`));
    page.on('request', request => requests.push(`${request.method()} ${request.url()}`));
    const isPhone = width < 600;
    await page.setViewport({width, height, isMobile: isPhone, hasTouch: isPhone});
    await page.emulateMediaFeatures([{name: 'prefers-color-scheme', value: scheme}]);
    const answer = await page.goto(url);
    return {status: answer.status(), headers: answer.headers()};
  },
  evaluate: ({script}) => page.evaluate(script),
  offline: ({is}) => page.setOfflineMode(is),
  noted: async () => ({told, requests}),
  screenshot: ({path}) => page.screenshot({path, fullPage: true}).then(() => null),
  // What axe-core has against the page: WCAG 2 A and AA, and good practice.
  async audit() {
    await page.evaluate(axe.source);
    const {violations} = await page.evaluate('axe.run()');
    return violations.map(({id, help, nodes}) => `${id}: ${help}: ${nodes.map(node => node.html).join(', ')}`);
  },
});

const main = async () => {
  const browser = await puppeteer.launch({
    executablePath,
    userDataDir,
    headless: 'shell',
    // The browser ends when its pipe does.
    pipe: true,
    // The sandbox needs what containers don't have; only pages of these tests are opened.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  const known = commands(browser);
  for await (const line of readline.createInterface({input: process.stdin})) {
    const {command, ...parameters} = JSON.parse(line);
    const answer = await known[command](parameters)
      .then(ok => ({ok: ok ?? null}), error => ({error: String(error)}));
    console.log(JSON.stringify(answer));
  }
  await browser.close();
};
main();
