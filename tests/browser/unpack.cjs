// Unpacks the browser of @sparticuz/chromium into the folder it runs in: the program, its libraries, a font.
'use strict';
const {execFileSync} = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');

const packed = path.join('node_modules', '@sparticuz', 'chromium', 'bin');
const unpacked = name => zlib.brotliDecompressSync(fs.readFileSync(path.join(packed, `${name}.br`)));

fs.writeFileSync('chromium', unpacked('chromium'), {mode: 0o755});
for (const archive of ['al2023.tar', 'fonts.tar']) {
  execFileSync('tar', ['-xf', '-'], {input: unpacked(archive)});
}
// The one in the archive looks for fonts where they were never put.
fs.writeFileSync('fonts.conf', '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>\n');
fs.rmSync(packed, {recursive: true});
