// Clicking points on a picture, for Jewelry Placement and Segment; and what nodes say of their work, shown in them. Python names
// the points' widget (`widgetType`); without this file the same input is an ordinary text field, and what is typed there means the
// same: shares of the picture, or pixels.
import { app } from "../../scripts/app.js";

const TYPE = "FITTING_ROOM_POINTS", SIZE = 240;
const ON = "#1a9edb", OFF = "#e0483e";

// "0.31,0.16; 0.78,0.18,0" (or pixels, or JSON) -> [[x, y, label]] in shares of a w x h picture; null where it cannot be read
function read(text, w, h) {
  let rows;
  try {
    text = text.trim();
    if (/^[[{]/.test(text)) {
      const items = JSON.parse(text);
      rows = (Array.isArray(items) ? items : [items]).map((p) => (Array.isArray(p) ? p : [p.x, p.y, p.label ?? 1]));
    } else rows = text.split(/[;\n]/).filter((t) => t.trim()).map((t) => t.split(",").map(Number));
  } catch { return null; }
  if (rows.some((r) => r.length < 2 || r.length > 3 || !r.every(Number.isFinite))) return null;
  const xy = rows.flatMap((r) => r.slice(0, 2));
  const shares = xy.every((v) => v >= 0 && v <= 1) && xy.some((v) => v % 1);
  if (!shares && rows.length && !w) return null; // pixels mean nothing before the picture is known
  return rows.map(([x, y, label = 1]) => (shares ? [x, y, label] : [(x + 0.5) / w, (y + 0.5) / h, label]));
}

const write = (points) => points.map(([x, y, label]) => `${+x.toFixed(4)},${+y.toFixed(4)}${label ? "" : ",0"}`).join("; ");

// The picture to click on: what the node last worked on, else what the node before it shows.
function pictureOf(node) {
  if (node.fittingRoomPicture) return node.fittingRoomPicture;
  const slot = node.inputs?.findIndex((i) => i.name === "image");
  const link = slot >= 0 ? node.inputs[slot].link : null;
  if (link == null) return null;
  const { origin_id } = node.graph.getLink?.(link) ?? node.graph.links[link] ?? {};
  const origin = node.graph.getNodeById(origin_id);
  return origin?.imgs?.find((i) => i.naturalWidth) ?? null;
}

function pointsWidget(node, name, inputData) {
  const opts = inputData?.[1] ?? {};
  const box = document.createElement("div"), canvas = document.createElement("canvas"), field = document.createElement("input");
  box.style.cssText = "display:flex;flex-direction:column;width:100%;height:100%;gap:4px";
  canvas.dataset.testid = `points-${name}`;
  canvas.title = opts.tooltip ?? "";
  canvas.style.cssText = "flex:1;min-height:0;width:100%;background:#1b1b1b;border-radius:4px;cursor:crosshair;touch-action:none";
  field.dataset.testid = `points-text-${name}`;
  field.placeholder = "points: click above, or type 0.4,0.5; 0.6,0.5";
  field.style.cssText = "width:100%;box-sizing:border-box;background:#222;color:#ddd;border:1px solid #444;border-radius:4px;padding:2px 6px;font:12px sans-serif";
  box.append(canvas, field);
  let value = opts.default ?? "";

  // Undo makes nodes anew, and the page may go on showing this element: what it shows and changes is the node that has its id now.
  const current = () => (app.canvas?.graph ?? app.graph)?.getNodeById?.(node.id) ?? node;
  const currentWidget = () => current().widgets?.find((w) => w.name === name && w.type === TYPE) ?? widget;
  const text = () => currentWidget().value ?? "";
  const picture = () => pictureOf(current());
  const area = (w, h) => { // the picture, letterboxed: [left, top, width, height]
    const image = picture(), ratio = image ? image.naturalWidth / image.naturalHeight : 1, width = Math.min(w, h * ratio);
    return [(w - width) / 2, (h - width / ratio) / 2, width, width / ratio];
  };
  const points = () => { const image = picture(); return read(text(), image?.naturalWidth, image?.naturalHeight); };
  const draw = () => {
    const w = canvas.clientWidth || SIZE, h = canvas.clientHeight || SIZE, scale = window.devicePixelRatio || 1;
    canvas.width = w * scale; canvas.height = h * scale;
    const c = canvas.getContext("2d"), image = picture(), [x0, y0, pw, ph] = area(w, h), found = points();
    c.scale(scale, scale);
    if (image) c.drawImage(image, x0, y0, pw, ph);
    else { c.fillStyle = "#2b2b2b"; c.fillRect(x0, y0, pw, ph); }
    c.font = "12px sans-serif"; c.textAlign = "center"; c.fillStyle = "#999";
    if (!found) c.fillText(picture() ? "these points cannot be read" : "points in pixels: run once to see the picture", w / 2, h / 2);
    else if (!image) c.fillText("connect a picture, or run once, to click on it", w / 2, h / 2);
    c.textAlign = "left";
    (found ?? []).forEach(([x, y, label], i) => {
      const px = x0 + x * pw, py = y0 + y * ph;
      c.beginPath(); c.arc(px, py, 5, 0, 7); c.lineWidth = 2;
      c.fillStyle = ON; c.strokeStyle = label ? "#fff" : OFF;
      if (label) c.fill();
      c.stroke();
      c.lineWidth = 3; c.strokeStyle = "#000"; c.fillStyle = "#fff";
      c.strokeText(String(i + 1), px + 8, py + 4); c.fillText(String(i + 1), px + 8, py + 4);
    });
  };
  const widget = node.addDOMWidget(name, TYPE, box, {
    getValue: () => value,
    setValue: (v) => { value = typeof v === "string" ? v : ""; field.value = value; draw(); },
    getMinHeight: () => SIZE + 30,
    hideOnZoom: false,
  });
  const change = (v) => {
    currentWidget().value = v;
    field.value = v;
    draw();
    app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.(); // one undo step
  };
  field.addEventListener("change", () => change(field.value));
  for (const kind of ["keydown", "pointerdown", "wheel"]) field.addEventListener(kind, (e) => e.stopPropagation());
  canvas.addEventListener("pointerdown", (e) => {
    if (e.button === 1) return; // the middle button pans
    e.preventDefault(); e.stopPropagation();
    const r = canvas.getBoundingClientRect(), zoom = r.width / (canvas.clientWidth || r.width); // r includes the graph's zoom
    const [x0, y0, pw, ph] = area(r.width / zoom, r.height / zoom);
    const x = ((e.clientX - r.left) / zoom - x0) / pw, y = ((e.clientY - r.top) / zoom - y0) / ph;
    const found = points() ?? [];
    if (e.button === 2) {
      const away = found.map((p) => Math.hypot((p[0] - x) * pw, (p[1] - y) * ph));
      if (away.length) found.splice(away.indexOf(Math.min(...away)), 1);
    } else if (x >= 0 && x < 1 && y >= 0 && y < 1) found.push([Math.max(x, 0.0001), Math.max(y, 0.0001), e.shiftKey ? 0 : 1]);
    else return;
    change(write(found));
  });
  canvas.addEventListener("contextmenu", (e) => { e.preventDefault(); e.stopPropagation(); });
  new ResizeObserver(draw).observe(canvas);
  // pictures arrive later than their nodes, and undo changes the text from outside
  let shown = [], gone = false;
  const watch = setInterval(() => {
    if (gone && !box.isConnected) return clearInterval(watch);
    const now = [picture(), text()];
    if (now[0] === shown[0] && now[1] === shown[1]) return;
    shown = now;
    if (document.activeElement !== field) field.value = now[1];
    draw();
  }, 300);
  const removed = widget.onRemove;
  widget.onRemove = function () { gone = true; removed?.call(this); };
  const executed = node.onExecuted;
  node.onExecuted = function (message) {
    executed?.call(this, message);
    const file = message?.fitting_room_picture?.[0];
    if (!file) return;
    const image = new Image();
    image.onload = () => { node.fittingRoomPicture = image; };
    image.src = `${app.api?.apiURL ? app.api.apiURL("/view") : "/api/view"}?${new URLSearchParams(file)}`;
  };
  const connected = node.onConnectionsChange;
  node.onConnectionsChange = function (...args) {
    connected?.apply(this, args);
    node.fittingRoomPicture = null; // another picture may come
  };
  return { widget, minWidth: SIZE + 40, minHeight: SIZE + 30 };
}

// What a node says of its work (a report, a note about a mask) stands in the node. It is shown, never saved.
function showText(node) {
  const area = document.createElement("textarea");
  area.readOnly = true;
  area.dataset.testid = "fitting-room-text";
  area.style.cssText = "width:100%;height:100%;box-sizing:border-box;resize:none;background:#1b1b1b;color:#bbb;border:none;border-radius:4px;padding:4px 6px;font:11px monospace";
  area.addEventListener("wheel", (e) => { if (area.scrollHeight > area.clientHeight) e.stopPropagation(); });
  const widget = node.addDOMWidget("fitting_room_text", "FITTING_ROOM_TEXT", area, {
    getValue: () => area.value, setValue: (v) => { area.value = v ?? ""; }, getMinHeight: () => 70, getMaxHeight: () => 160, serialize: false, hideOnZoom: false,
  });
  widget.serialize = false; // neither in the workflow's file nor in the prompt
  return widget;
}

function nodeCreated(node) {
  if (!String(node.comfyClass ?? node.type).startsWith("FittingRoom")) return;
  const executed = node.onExecuted;
  let widget = null;
  node.onExecuted = function (message) {
    executed?.call(this, message);
    const text = (message?.text ?? []).join("\n");
    if (!text && !widget) return;
    widget ??= showText(this);
    widget.value = text;
    const [width, height] = this.computeSize();
    if (this.size[1] < height) this.setSize([Math.max(this.size[0], width), height]);
  };
}

app.registerExtension({ name: "fittingroom.nodes", getCustomWidgets: () => ({ [TYPE]: pointsWidget }), nodeCreated });
