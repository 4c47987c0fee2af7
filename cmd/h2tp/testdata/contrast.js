// Texts whose contrast to what is behind them is below WCAG's AA, and lines of charts below 3 : 1.
(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return parse('rgb(255 255 255)');
  };
  const bad = [];
  let n = 0;
  for (const e of document.querySelectorAll('body *')) {
    const hasText = [...e.childNodes].some((c) => c.nodeType === Node.TEXT_NODE && c.textContent.trim() !== '');
    if (!hasText || e.closest('.unseen, .uplot, noscript') || e.getClientRects().length === 0) continue;
    n++;
    const style = getComputedStyle(e);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const got = contrast(parse(style.color), behind(e));
    if (got < least) bad.push(`${e.tagName} "${e.textContent.trim().slice(0, 30)}": ${got.toFixed(2)}`);
  }
  const lines = document.querySelectorAll('.swatch line');
  for (const line of lines) {
    const got = contrast(parse(getComputedStyle(line).stroke), behind(line));
    if (got < 3) bad.push(`line ${line.getAttribute('class')}: ${got.toFixed(2)}`);
  }
  if (n < 40 || lines.length < 6) bad.push(`only ${n} texts and ${lines.length} lines found`);
  return bad;
})();
