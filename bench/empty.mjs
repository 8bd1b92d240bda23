/** A Node process that does nothing: what memory is measured against. */
setTimeout(() => {
  const steady = process.memoryUsage.rss() / 1e6;
  const peak = (process.resourceUsage().maxRSS * 1024) / 1e6;
  console.log(JSON.stringify({ steady: Number(steady.toFixed(1)), peak: Number(peak.toFixed(1)) }));
}, 500);
