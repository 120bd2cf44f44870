// Two or more pictures of the same thing: beside each other, or one over the other with a handle between them.
// All that comes from data is set as `src` of an <img> or as text; nothing of it is ever parsed as HTML.

const NEEDED = /^data:image\/(png|svg\+xml);base64,[A-Za-z0-9+/=]*$/

function element(name, className, parent) {
  const made = document.createElement(name)
  if (className) made.className = className
  parent.appendChild(made)
  return made
}

function picture(pane, data, parent) {
  if (!pane.under) {
    const stack = element("div", "stack", parent)
    stack.style.width = `${data.width * data.scale}px`
    drawn(pane.src, pane.alt, data, stack).classList.add("checked")
    pane.boxes.forEach((box) => boxed(box, data, stack))
    return
  }
  const stack = element("div", "stack", parent)
  stack.style.width = `${data.width * data.scale}px`
  drawn(pane.under, "", data, stack).classList.add("under")
  drawn(pane.src, pane.alt, data, element("div", "over", stack))
}

function drawn(src, alt, data, parent) {
  const image = element("img", "picture", parent)
  image.alt = alt
  image.draggable = false
  image.style.width = `${data.width * data.scale}px`
  image.style.height = `${data.height * data.scale}px`
  if (NEEDED.test(src)) image.src = src
  return image
}

function boxed([x, y, width, height], data, parent) {
  const around = element("div", "box", parent)
  const room = 3
  around.style.left = `${x * data.scale - room}px`
  around.style.top = `${y * data.scale - room}px`
  around.style.width = `${width * data.scale + 2 * room}px`
  around.style.height = `${height * data.scale + 2 * room}px`
}

function caption(pane, parent) {
  const text = element("div", "caption", parent)
  const label = element("strong", pane.ours ? "label ours" : "label", text)
  label.textContent = pane.label
  element("span", "says", text).textContent = pane.says
}

function window_(pane, parent) {
  const view = element("div", "view", parent)
  view.tabIndex = 0
  view.setAttribute("role", "group")
  view.setAttribute("aria-label", `${pane.label}, scrollable`)
  return view
}

function beside(data, root) {
  const row = element("div", "row", root)
  const views = data.panes.map((pane) => {
    const column = element("figure", "column", row)
    caption(pane, column)
    const view = window_(pane, column)
    if (pane.src) picture(pane, data, view)
    else element("p", "none", view).textContent = "not available"
    return view
  })
  keepTogether(views)
}

function keepTogether(views) {
  let leader = null
  views.forEach((view) => {
    view.addEventListener("pointerenter", () => (leader = view))
    view.addEventListener("focus", () => (leader = view))
    view.addEventListener("scroll", () => {
      if (leader !== view) return
      views.forEach((other) => {
        if (other === view) return
        other.scrollLeft = view.scrollLeft
        other.scrollTop = view.scrollTop
      })
    })
  })
  requestAnimationFrame(() => views.forEach((view) => {
    view.scrollLeft = (view.scrollWidth - view.clientWidth) / 2
    view.scrollTop = (view.scrollHeight - view.clientHeight) / 2
  }))
}

function between(data, root) {
  const [left, right] = data.panes
  const head = element("div", "heads", root)
  caption(left, head)
  caption(right, head)
  const view = window_({ label: `${left.label} and ${right.label}` }, root)
  const stack = element("div", "stack between", view)
  stack.style.width = `${data.width * data.scale}px`
  stack.style.height = `${data.height * data.scale}px`
  picture(left, data, stack)
  const over = element("div", "over", stack)
  picture(right, data, over)
  const line = element("div", "line", stack)
  const slider = element("input", "slider", root)
  slider.type = "range"
  slider.min = "0"
  slider.max = "100"
  slider.step = "0.5"
  slider.value = "50"
  slider.setAttribute("aria-label", `How much of ${left.label} is shown, in per cent; the rest is ${right.label}`)
  const show = () => {
    over.style.clipPath = `inset(0 0 0 ${slider.value}%)`
    line.style.left = `${slider.value}%`
  }
  slider.addEventListener("input", show)
  stack.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && event.buttons === 0) return
    const box = stack.getBoundingClientRect()
    slider.value = String((100 * (event.clientX - box.left)) / box.width)
    show()
  })
  show()
  keepTogether([view])
}

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".viewer")
  root.replaceChildren()
  const wide = Math.max(160, (root.clientWidth || 800) - 4)
  const columns = data.mode === "between" || wide < 640 ? 1 : data.panes.length
  const room = Math.min((wide - 12 * (columns - 1)) / columns - 2, data.mode === "between" ? 640 : 520)
  const fitted = Math.min(room / data.width, data.tallest / data.height, 4)
  const shown = { ...data, scale: fitted * data.zoom }
  if (data.mode === "between" && data.panes.every((pane) => pane.src)) between(shown, root)
  else beside(shown, root)
}
