module.exports = {
  plugins: {
    "postcss-nested": {},
    "@tailwindcss/postcss": {},
  },
};
