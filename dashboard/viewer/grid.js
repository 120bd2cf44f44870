// Small pictures to choose by. All that comes from data is set as `src` of an <img> or as text, never parsed as HTML.

const NEEDED = /^data:image\/png;base64,[A-Za-z0-9+/=]*$/

function made(tile, chosen) {
  const button = document.createElement("button")
  button.className = "tile"
  button.type = "button"
  button.title = tile.label
  button.setAttribute("aria-pressed", String(tile.id === chosen))
  const picture = document.createElement(tile.src ? "img" : "span")
  picture.className = tile.src ? "small" : "gone"
  if (tile.src) picture.alt = ""
  if (NEEDED.test(tile.src)) picture.src = tile.src
  const name = document.createElement("span")
  name.className = "name"
  name.textContent = tile.label.split("/").pop()
  button.append(picture, name)
  return button
}

function stepOf(key, tiles) {
  const columns = Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length)
  return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key]
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".grid")
  const held = root.contains(root.getRootNode().activeElement)
  const tiles = data.tiles.map((tile) => made(tile, data.chosen))
  root.replaceChildren(...tiles)
  const at = data.tiles.findIndex((tile) => tile.id === data.chosen)
  if (at >= 0) {
    root.scrollTop = Math.max(0, tiles[at].offsetTop - root.offsetTop - root.clientHeight / 2)
    if (held) tiles[at].focus({ preventScroll: true })
  }
  tiles.forEach((tile, index) => (tile.onclick = () => setTriggerValue("picked", data.tiles[index].id)))
  root.onkeydown = (event) => {
    const from = tiles.indexOf(root.getRootNode().activeElement)
    const step = from < 0 ? undefined : stepOf(event.key, tiles)
    if (step === undefined) return
    event.preventDefault()
    event.stopPropagation()
    const to = tiles[from + step]
    if (to) to.focus()
    if (to) to.click()
  }
}
